"""Many ads at once: the rows of `predict` for those that can be read, in a harmless CSV."""

import csv
import io

import pandas as pd

from rubert_ood.ui.batch import COLUMNS, as_csv, score_rows
from rubert_ood.ui.pages import render
from rubert_ood.ui.uploads import read_upload


def test_score_rows_are_those_of_predict_for_the_good_ones(model, ads):
    titles, texts = ads["title"].to_pylist()[:30], ads["description"].to_pylist()[:30]
    frame = pd.DataFrame({"ad_id": map(str, range(30)), "title": titles})
    frame["description"] = [text.replace("\n", " ") for text in texts]
    data = frame.to_csv(index=False).encode() + b"bad row\n"
    scored = score_rows(model, read_upload(data, "a.csv"))
    expected = model.predict(frame)
    assert [row.is_bad for row in scored] == [False] * 30 + [True]
    for row, want in zip(scored, expected.to_dict("records"), strict=False):
        for name in COLUMNS:
            assert row.result[name] == want[name] or pd.isna(want[name]), name


def test_as_csv_has_a_line_for_each_row_and_no_text(model):
    data = "ad_id,description\n1,диван\n2\n=3,продам\n".encode()
    text = as_csv(score_rows(model, read_upload(data, "a.csv")))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["ad_id"] for row in rows] == ["1", "", "'=3"]
    assert [row["status"] for row in rows] == ["ok", "bad row", "empty"]
    assert [row["problem"] for row in rows] == ["", "1 column, the header has 2", ""]
    assert float(rows[0]["confidence"]) == model.predict(["диван"])["confidence"][0]
    assert "диван" not in text


def test_the_page_counts_one_bad_row_in_the_singular(model):
    rows = score_rows(model, read_upload("description,city\nдиван\n".encode(), "a.csv"))
    html = render("rows", rows=rows, has_texts=False)
    assert 'data-said="0 classified, 1 bad row"' in html
    assert "bad row: 1 column, the header has 2" in html

"""The routes of the page: what they show is what `predict` gives; what goes wrong is one line."""

import csv
import html
import io
import json
import logging
import re

import pytest
from starlette.testclient import TestClient

from rubert_ood.ui import server
from rubert_ood.ui.pages import cell, number, render, static_file
from rubert_ood.ui.security import Access
from rubert_ood.ui.server import make_app
from rubert_ood.ui.uploads import MAX_BYTES

HOST = "127.0.0.1:8765"
HOSTILE = '<script>alert(1)</script> <img src=x onerror="x"> \u202e диван'


@pytest.fixture
def client(state):
    app = make_app(state, Access("127.0.0.1", max_bytes=MAX_BYTES))
    headers = {"origin": f"http://{HOST}"}
    return TestClient(app, base_url=f"http://{HOST}", headers=headers)


def fields(page: str) -> dict[str, str]:
    """Return what stands in the marked places of a page."""
    found = re.findall(r'data-field="(\w+)">([^<]*)<', page)
    return {name: html.unescape(text) for name, text in found}


def test_page_shows_the_bundle_and_texts_to_begin_with(client, state):
    answer = client.get("/")
    assert answer.status_code == 200
    assert state.model.bundle.version in answer.text
    assert answer.text.count("<option") > 30
    assert "style=" not in answer.text
    assert re.findall(r"(?:src|href)=\"([^\"#]+)\"", answer.text) == [
        "static/icon.svg",
        "static/ui.css",
        "static/ui.js",
    ]


def test_texts_of_one_ad_shows_the_numbers_of_predict(client, state, ads):
    for text in ads["description"].to_pylist()[:10]:
        shown = fields(client.post("/texts", json={"text": text}).text)
        row = state.model.predict([text]).iloc[0]
        assert shown["label"] == row["label"]
        assert shown["confidence"] == f"{row['confidence']:.1%}"
        assert shown["ood_distance"] == number(row["ood_distance"])
        assert shown["ood_z"] == f"{row['ood_z']:.2f}"
        assert shown["ood_p"] == f"{row['ood_p']:.4f}"
        assert shown["num_tokens"] == str(row["num_tokens"])
        assert (shown["domain"] == "Out of domain") == row["is_ood"]


def test_texts_of_an_ad_with_nothing_to_read_says_so(client):
    for text in ("", "продам", "\u200b"):
        page = client.post("/texts", json={"text": text}).text
        assert "Nothing to read" in page
        assert fields(page) == {"label": "Other"}


def test_texts_escapes_what_is_hostile(client):
    page = client.post("/texts", json={"text": HOSTILE}).text
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


def test_texts_of_lines_lists_each_with_a_csv(client, state):
    given = {"text": "диван\n\nшины\nпродам", "each_line": True}
    answer = client.post("/texts", json=given).json()
    rows = list(csv.DictReader(io.StringIO(answer["csv"])))
    expected = state.model.predict(["диван", "шины", "продам"])
    assert [row["label"] for row in rows] == expected["label"].tolist()
    assert answer["html"].count("data-explain") == 3


def test_decide_under_no_change_is_the_answer_of_predict(client, state, ads):
    text = ads["description"].to_pylist()[0]
    page = client.post("/texts", json={"text": text}).text
    numbers = json.loads(html.unescape(re.search(r'data-numbers="([^"]*)"', page)[1]))
    again = client.post("/decide", json={"numbers": numbers, "choice": {}}).text
    assert fields(again)["label"] == fields(page)["label"]
    assert "rubert-ood train" not in again

    changed = {"numbers": numbers, "choice": {"tau_other": 1.0, "ood_conf_gate": 0.0}}
    other = client.post("/decide", json=changed).text
    assert fields(other) == {"label": "Other", "domain": "Not sure"}
    assert "--decision.tau_other 1.0 --decision.ood_conf_gate 0.0" in other
    assert re.findall(r'data-part="(\w+)"', other) == ["verdict", "distance", "flips"]


@pytest.mark.parametrize(
    ("path", "body", "line"),
    [
        ("/texts", b"{", "request: Invalid JSON"),
        ("/texts", b'{"text": 5}', "text: Input should be a valid string"),
        ("/texts", b'{"text": "", "each_line": true}', "the file has no ad"),
        ("/texts", b'{"text": "x", "more": 1}', "more: Extra inputs"),
        ("/decide", b'{"numbers": {"labels": ["x"], "scores": [1], "d2": 1}}', "label 'x'"),
        ("/decide", b'{"numbers": {"labels": [], "scores": [], "d2": 1}}', "numbers.labels"),
        ("/file", b"", "the file has no ad"),
        ("/run", b"{}", "the page was started without --run_uri"),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense_are_one_line(client, path, body, line):
    answer = client.post(path, content=body)
    assert answer.status_code == 422
    assert answer.text.startswith(line)
    assert "\n" not in answer.text


def test_decide_of_a_threshold_that_the_settings_refuse_names_it(client, state):
    numbers = {"labels": state.model.labels[:1], "scores": [0.5], "d2": 1}
    body = {"numbers": numbers, "choice": {"tau_other": 7}}
    answer = client.post("/decide", json=body)
    assert answer.status_code == 422
    assert "tau_other" in answer.text


def test_file_of_csv_is_scored_and_bad_rows_stay(client, state):
    data = "ad_id,description\n1,диван\n2\n".encode()
    answer = client.post("/file?name=file.csv", content=data).json()
    rows = list(csv.DictReader(io.StringIO(answer["csv"])))
    assert rows[0]["label"] == state.model.predict(["диван"])["label"][0]
    assert rows[1]["problem"] == "1 column, the header has 2"
    assert "1 could not be read" in answer["html"]


def test_internal_error_is_logged_without_the_text(client, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise ValueError("секретное объявление")

    monkeypatch.setattr(server, "read_upload", broken)
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/file", content="секретное объявление".encode())
    assert (answer.status_code, answer.text) == (
        500,
        "internal error; the log says where",
    )
    assert "internal error: ValueError at " in caplog.text
    assert "секретное" not in caplog.text


def test_static_serves_three_files_and_no_other(client):
    for name in ("ui.css", "ui.js", "icon.svg"):
        assert client.get(f"/static/{name}").status_code == 200
    for name in ("page.html.j2", "..%2fserver.py", "../server.py", "x"):
        assert client.get(f"/static/{name}").status_code == 404
    assert static_file("../server.py") is None


def test_cell_writes_numbers_short_and_lists_with_commas():
    assert cell([0.123456789, "x", None, 3]) == "0.123457, x, None, 3"


def test_render_escapes_labels():
    past = {"row": None, "ad_id": "<b>", "history": []}
    assert "&lt;b&gt;" in render("run_ad", **past)

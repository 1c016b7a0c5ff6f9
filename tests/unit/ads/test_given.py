"""Ads of a notebook: the texts that each kind of table gives, and what is said of a wrong one."""

import datetime

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from rubert_ood.ads.given import given_ads
from rubert_ood.errors import SchemaError
from rubert_ood.settings import ColumnSettings

COLUMNS = ColumnSettings()
TITLES = ["Диван", None, "", "Шины"]
DESCRIPTIONS = ["угловой", "стол", None, ""]
TEXTS = ["Диван угловой", " стол", " ", "Шины "]
COLUMN = pa.array(DESCRIPTIONS, pa.string())


def _not_utf8() -> pa.Table:
    raw = pa.array([b"x", b"\xff"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    return pa.table({"title": ["x", "x"], "description": text})


WRONG = {
    "no description": (
        pd.DataFrame({"title": ["x"]}),
        (
            "ads: the table has no column 'description' (setting"
            " columns.description). Use one that it has: title"
        ),
    ),
    "numbers": (
        pd.DataFrame({"description": [5]}),
        "ads: column 'description' has the type int64. Convert it to text",
    ),
    "mixed": (
        pd.DataFrame({"title": ["x", 5], "description": ["x", "x"]}),
        (
            "ads: column 'title' holds values that are not text. Convert them to"
            " text, or to None"
        ),
    ),
    "an id of more than 64 bits": (
        pd.DataFrame({"ad_id": [1, 10**30], "description": ["x", "x"]}),
        (
            "ads: column 'ad_id' holds values that are not text. Convert them to text,"
            " or to None"
        ),
    ),
    "lists": (
        pd.DataFrame({"description": [["x"]]}),
        ("ads: column 'description' has the type list<item: string>. Convert it to text"),
    ),
    "objects": (
        pd.DataFrame({"description": [object()]}),
        (
            "ads: column 'description' holds values that are not text. Convert them"
            " to text, or to None"
        ),
    ),
    "twice": (
        pd.DataFrame([["x", "y"]], columns=["description"] * 2),
        "ads: the table has two columns 'description'. Rename or drop one",
    ),
    "not UTF-8": (
        _not_utf8(),
        "ads: column 'description', row 1: the text is not UTF-8. Decode it first",
    ),
    "half of a character alone": (
        "\ud800",
        (
            "ads: column 'text' holds values that are not text. Convert them to text,"
            " or to None"
        ),
    ),
    "half of a character": (
        ["\ud800"],
        (
            "ads: column 'text' holds values that are not text. Convert them to text,"
            " or to None"
        ),
    ),
    "list of numbers": ([5], "ads: column 'text' has the type int64. Convert it to text"),
    "bytes": (
        b"x",
        (
            "ads: bytes is not supported. Use a DataFrame, an Arrow table or a list of"
            " texts"
        ),
    ),
    "dict": (
        {"x": 1},
        (
            "ads: dict is not supported. Use a DataFrame, an Arrow table or a list of"
            " texts"
        ),
    ),
    "ids that are not UTF-8": (
        _not_utf8()
        .rename_columns(["title", "ad_id"])
        .append_column("description", COLUMN[:2]),
        "ads: column 'ad_id', row 1: the text is not UTF-8. Decode it first",
    ),
    "an array without dimensions": (
        np.array("x"),
        (
            "ads: ndarray is not supported. Use a DataFrame, an Arrow table or a"
            " list of texts"
        ),
    ),
    "number": (
        5,
        ("ads: int is not supported. Use a DataFrame, an Arrow table or a list of texts"),
    ),
    "ids": (
        pd.DataFrame({"ad_id": [1.5], "description": ["x"]}),
        "ads: column 'ad_id' has the type double. Convert it to text or integers",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_given_ads_of_a_wrong_table_are_one_line_that_names_the_column(name):
    ads, message = WRONG[name]
    with pytest.raises(SchemaError) as caught:
        given_ads(ads, COLUMNS)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("setting", "column"), [("ad_id", "id"), ("title", "head"), ("description", "body")]
)
def test_given_ads_without_a_column_that_was_named_are_refused(setting, column):
    columns = ColumnSettings.model_validate({setting: column})
    with pytest.raises(SchemaError) as caught:
        given_ads(pd.DataFrame({"description": ["x"]}), columns)
    assert str(caught.value) == (
        f"ads: the table has no column '{column}' (setting columns.{setting})."
        " Use one that it has: description"
    )


def test_given_ads_of_a_frame_are_title_and_description_with_its_ids_and_index():
    index = pd.Index([30, 10, 10, 20])
    frame = pd.DataFrame(
        {"ad_id": [4, 3, 2, 1], "title": TITLES, "description": DESCRIPTIONS}, index=index
    )
    found = given_ads(frame, COLUMNS)
    assert found.texts == TEXTS
    assert found.ad_id.equals(frame["ad_id"])
    assert found.index.equals(index)


@pytest.mark.parametrize(
    "column",
    [
        COLUMN,
        COLUMN.cast(pa.large_string()),
        COLUMN.cast(pa.string_view()),
        COLUMN.dictionary_encode(),
        pa.chunked_array([COLUMN[:1], COLUMN[1:1], COLUMN[1:]]),
    ],
    ids=["string", "large_string", "string_view", "dictionary", "chunks"],
)
def test_given_ads_of_an_arrow_table_are_the_same_for_every_type_of_text(column):
    ids = pa.array([4, 3, 2, 1])
    found = given_ads(
        pa.table({"ad_id": ids, "title": TITLES, "description": column}), COLUMNS
    )
    assert found.texts == TEXTS
    assert found.ad_id.combine_chunks().equals(ids)
    assert found.index is None


@pytest.mark.parametrize(
    "given",
    [
        lambda table: table.to_batches()[0],
        lambda table: table.to_reader(),
        pl.from_arrow,
        lambda table: duckdb.from_arrow(table),
    ],
    ids=["record batch", "reader", "polars", "DuckDB"],
)
def test_given_ads_of_what_gives_its_columns_as_arrow_are_those_of_the_arrow_table(given):
    columns = {"ad_id": ["4", "3", "2", "1"], "title": TITLES, "description": COLUMN}
    found = given_ads(given(pa.table(columns)), COLUMNS)
    assert found.texts == TEXTS
    assert found.ad_id.to_pylist() == ["4", "3", "2", "1"]
    assert found.is_arrow


def test_given_ads_of_one_arrow_or_polars_column_are_texts():
    for texts in (COLUMN, pa.chunked_array([COLUMN]), pl.Series(DESCRIPTIONS)):
        found = given_ads(texts, COLUMNS)
        assert found.texts == [" угловой", " стол", " ", " "]
        assert found.index is None
        assert not found.is_arrow


@pytest.mark.parametrize(
    "dtype", [object, "string", "string[pyarrow]", "category"], ids=str
)
def test_given_ads_of_a_frame_are_the_same_for_every_dtype_of_text(dtype):
    frame = pd.DataFrame({"title": TITLES, "description": DESCRIPTIONS}).astype(dtype)
    found = given_ads(frame, COLUMNS)
    assert found.texts == TEXTS
    assert found.ad_id is None


@pytest.mark.parametrize("nothing", [None, float("nan"), np.nan, pd.NA, pd.NaT], ids=repr)
def test_given_ads_take_every_missing_value_for_no_text(nothing):
    assert given_ads([nothing, "стол"], COLUMNS).texts == [" ", " стол"]
    frame = pd.DataFrame({"title": [nothing] * 2, "description": ["x", nothing]})
    assert given_ads(frame, COLUMNS).texts == [" x", " "]


def test_given_ads_of_a_series_keep_its_index_and_of_other_texts_have_none():
    series = pd.Series(["диван", "стол"], index=["b", "a"])
    found = given_ads(series, COLUMNS)
    assert found.texts == [" диван", " стол"]
    assert found.index.equals(series.index)
    assert found.ad_id is None
    for texts in (["диван", "стол"], ("диван", "стол"), iter(["диван", "стол"])):
        found = given_ads(texts, COLUMNS)
        assert (found.texts, found.index) == ([" диван", " стол"], None)


def test_given_ads_of_one_text_are_one_ad():
    assert given_ads("диван", COLUMNS).texts == [" диван"]
    assert given_ads("", COLUMNS).texts == [" "]


@pytest.mark.parametrize(
    "nothing",
    [
        [],
        pd.Series([], dtype=object),
        pd.DataFrame({"description": []}),
        pa.table({"description": pa.array([], pa.string())}),
    ],
    ids=["list", "series", "frame", "table"],
)
def test_given_ads_of_nothing_are_no_ads(nothing):
    assert given_ads(nothing, COLUMNS).texts == []


def test_given_ads_of_a_frame_without_a_column_name_the_description():
    with pytest.raises(
        SchemaError, match=r"no column 'description' .*. It has no columns at all$"
    ):
        given_ads(pd.DataFrame(index=[1, 2]), COLUMNS)


def test_given_ads_without_a_title_in_the_settings_leave_the_column_title_alone():
    frame = pd.DataFrame({"title": [object()], "description": ["стол"]})
    assert given_ads(frame, ColumnSettings(title=None)).texts == [" стол"]


def test_given_ads_of_a_frame_read_no_column_that_is_not_needed():
    """Values of mixed types would not go into Arrow; names need not be text."""
    frame = pd.DataFrame({"description": ["стол"], "other": [{1, 2}], 7: [datetime.UTC]})
    assert given_ads(frame, COLUMNS).texts == [" стол"]

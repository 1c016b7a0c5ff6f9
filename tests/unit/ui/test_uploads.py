"""Files that people send: good rows go through, each bad one says why, and nothing is quoted."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.text import ad_text
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.ui.uploads import MAX_ADS, GivenRow, read_upload


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_read_upload_of_lines_takes_each_that_is_not_blank():
    data = "\ufeffДиван\r\n\n  \nШины зимние\n".encode() + b"\xff\xfe\n" + "Стол".encode()
    assert read_upload(data, "ads.txt") == [
        GivenRow(1, "", ad_text(None, "Диван")),
        GivenRow(2, "", ad_text(None, "Шины зимние")),
        GivenRow(3, problem="description is not UTF-8"),
        GivenRow(4, "", ad_text(None, "Стол")),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_read_upload_of_csv_gives_bad_rows_a_line_each(delimiter):
    lines = [
        ["ad_id", "title", "description"],
        ["007", "Диван", '"угловой\nсерый"'],
        ["2", "x"],
        ["3", "", "шины"],
    ]
    data = "\n".join(delimiter.join(line) for line in lines).encode()
    data += b"\n4" + delimiter.encode() + b"\xff" + delimiter.encode() + b"x"
    assert read_upload(data, "ADS.CSV") == [
        GivenRow(1, "007", ad_text("Диван", "угловой\nсерый")),
        GivenRow(2, problem="2 columns, the header has 3"),
        GivenRow(3, "3", ad_text("", "шины")),
        GivenRow(4, problem="title is not UTF-8"),
    ]


def test_read_upload_of_csv_with_a_column_text_needs_no_description():
    assert read_upload("text\nДиван\n".encode(), "a.csv") == [
        GivenRow(1, "", ad_text(None, "Диван"))
    ]


def test_read_upload_of_parquet_reads_its_rows():
    bad = pa.array([b"\xff", "шины".encode()]).cast(pa.binary()).view(pa.binary())
    text = pa.StringArray.from_buffers(2, bad.buffers()[1], bad.buffers()[2])
    table = pa.table({"ad_id": [1, 2], "title": [None, "Зимние"], "description": text})
    assert read_upload(parquet(table), "any name") == [
        GivenRow(1, problem="description is not UTF-8"),
        GivenRow(2, "2", ad_text("Зимние", "шины")),
    ]


@pytest.mark.parametrize(
    ("data", "name", "error", "line"),
    [
        (b"", "a.txt", InputError, "the file has no ad"),
        (b"\n \n", "a.txt", InputError, "the file has no ad"),
        (b"description\n", "a.csv", InputError, "the file has no ad"),
        (b"", "a.csv", InputError, "the file has no ad"),
        (b"PK\3\4 workbook", "a.xlsx", InputError, "the file is not text. Save it as CSV in UTF-8"),
        (b"\x1f\x8b\x08 archive", "a.csv.gz", InputError, "the file is not text"),
        ("диван\nкресло".encode("utf-16"), "a.txt", InputError, "the file is not text"),
        (b"PAR1xxxxPAR1", "a", InputError, "the file is not readable as Parquet"),
        (b"abc", "a.parquet", InputError, "the file is not Parquet, though its name says so"),
        (b"\xffa,b\n1,2", "a.csv", SchemaError, "the header is not UTF-8. Save the file as UTF-8"),
        (b"x\n" * (MAX_ADS + 1), "a.txt", InputError, f"the file has more than {MAX_ADS} ads"),
        (b"price\n1\n", "a.csv", SchemaError, "the file: the table has no column 'description'"),
        (b"Title,description\na,b", "a.csv", SchemaError, "the file has the column 'Title', not"),
    ],
)  # fmt: skip
def test_read_upload_of_what_cannot_be_read_is_one_line(data, name, error, line):
    with pytest.raises(error) as caught:
        read_upload(data, name)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_read_upload_of_parquet_with_too_many_ads_is_refused():
    table = pa.table({"description": ["x"] * (MAX_ADS + 1)})
    with pytest.raises(InputError, match="more than 500 ads"):
        read_upload(parquet(table), "a.parquet")
    table = table.slice(0, MAX_ADS)
    assert len(read_upload(parquet(table), "a.parquet")) == MAX_ADS


def test_read_upload_of_numbers_where_text_should_be_names_the_column():
    with pytest.raises(SchemaError, match="column 'description' has the type double"):
        read_upload(parquet(pa.table({"description": [1.5]})), "a.parquet")

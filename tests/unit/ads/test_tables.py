import csv
import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubert_ood.ads import tables
from rubert_ood.ads.csv_table import read_csv
from rubert_ood.ads.tables import TableInfo, inspect, iter_rows, read_rows
from rubert_ood.errors import InputChangedError, InputError, RubertOodError, SchemaError
from rubert_ood.storage.listing import list_below


def put(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def message(error: type[RubertOodError], function, *arguments) -> str:
    """Return the one line of the error that the call must raise."""
    with pytest.raises(error) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def write_groups(uri: str, groups: list[pa.Table]) -> pa.Table:
    """Write one row group per table; return all rows."""
    with pq.ParquetWriter(uri, groups[0].schema) as writer:
        for group in groups:
            writer.write_table(group, row_group_size=max(group.num_rows, 1))
    return pa.concat_tables(groups)


# Parquet


def test_inspect_reads_schema_and_row_groups(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    whole = pa.table({"id": range(10), "text": ["т"] * 10})
    write_groups(uri, [whole[:3], whole[3:4], whole[4:]])
    assert inspect(uri) == TableInfo(whole.schema, [3, 1, 6])


def test_inspect_of_a_table_without_rows(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    empty = pa.table({"id": pa.array([], pa.int64())})
    pq.write_table(empty, uri)
    info = inspect(uri)
    assert info.schema == empty.schema
    assert sum(info.row_groups) == 0
    assert read_rows(uri, ["id"]) == empty


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    batch_rows=st.integers(1, 50),
    data=st.data(),
)
def test_read_rows_of_every_range_equals_a_slice_of_the_whole_table(
    sizes: list[int],
    batch_rows: int,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    uri = str(tmp_path_factory.mktemp("ranges") / "a.parquet")
    num_rows = sum(sizes)
    rows = pa.table(
        {
            "id": range(num_rows),
            "text": [f"объявление {row}" for row in range(num_rows)],
            "x": [0] * num_rows,
        }
    )
    bounds = [sum(sizes[:index]) for index in range(len(sizes))]
    whole = write_groups(
        uri, [rows.slice(start, size) for start, size in zip(bounds, sizes, strict=True)]
    )
    start = data.draw(st.integers(0, num_rows))
    stop = data.draw(st.one_of(st.none(), st.integers(start, num_rows + 5)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "READ_BATCH_ROWS", batch_rows)
        assert (
            read_rows(uri, ["text", "id"], start=start, stop=stop)
            == whole.select(["text", "id"])[start:stop]
        )


def test_read_rows_of_all_ranges_of_a_small_file(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    rows = pa.table({"id": range(9)})
    write_groups(uri, [rows[:1], rows[1:1], rows[1:6], rows[6:]])
    for start in range(10):
        for stop in range(start, 11):
            assert read_rows(uri, ["id"], start=start, stop=stop) == rows[start:stop], (
                start,
                stop,
            )


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_read_rows_come_few_at_a_time_after_a_batch_that_tells_the_schema(
    tmp_path: Path, suffix: str
) -> None:
    uri = str(tmp_path / f"a.{suffix}")
    rows = pa.table(
        {"id": [str(row) for row in range(100)], "text": ["т"] * 100, "x": ["y"] * 100}
    )
    if suffix == "csv":
        put(
            tmp_path / "a.csv",
            "id,text,x\n" + "".join(f"{row},т,y\n" for row in range(100)),
        )
    else:
        write_groups(uri, [rows[:30], rows[30:]])
    first, *batches = iter_rows(uri, ["text", "id"], start=3, stop=77, batch_rows=8)
    assert (first.num_rows, first.schema) == (0, rows.select(["text", "id"]).schema)
    assert max(batch.num_rows for batch in batches) == 8
    assert pa.Table.from_batches(batches) == rows.select(["text", "id"])[3:77]
    assert len(list(iter_rows(uri, ["id"], start=5, stop=5, batch_rows=8))) == 1


def test_read_rows_of_a_large_row_group_has_few_rows_in_memory(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    rng = np.random.default_rng(0)
    column = pa.array([rng.bytes(1_000_000) for _ in range(100)], pa.binary())
    options = {"write_batch_size": 1, "use_dictionary": False, "compression": "NONE"}
    pq.write_table(pa.table({"x": column}), uri, **options)
    del column
    before, most, num_rows = pa.total_allocated_bytes(), 0, 0
    for batch in iter_rows(uri, ["x"], batch_rows=2):
        most, num_rows = (
            max(most, pa.total_allocated_bytes() - before),
            num_rows + batch.num_rows,
        )
    assert num_rows == 100
    assert most < 30_000_000


def test_read_rows_reads_only_the_row_groups_of_the_range(tmp_path: Path) -> None:
    """The first group is destroyed: reading the second must not notice."""
    uri = tmp_path / "a.parquet"
    rows = pa.table({"id": pa.array(range(2_000), pa.int64())})
    write_groups(str(uri), [rows[:1_000], rows[1_000:]])
    first = pq.read_metadata(uri).row_group(0).column(0)
    content = bytearray(uri.read_bytes())
    start = first.dictionary_page_offset or first.data_page_offset
    content[start : start + first.total_compressed_size] = (
        b"\xff" * first.total_compressed_size
    )
    uri.write_bytes(content)
    assert read_rows(str(uri), ["id"], start=1_000, stop=1_500) == rows[1_000:1_500]
    assert message(InputError, read_rows, str(uri), ["id"]).startswith(
        f"{uri}: the file cannot be read as Parquet: "
    )


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["а", None, "б"] * 5).dictionary_encode(),
        pa.array(["а", None, "б"] * 5, pa.large_string()),
        pa.array(["а", None, "б"] * 5, pa.string_view()),
        pa.nulls(15),
        pa.array([7, None, 8] * 5, pa.int32()),
        pa.array([{"x": 1}, None, {"x": 2}] * 5),
    ],
    ids=lambda column: str(column.type).replace("\n", " "),
)
def test_read_rows_keeps_column_types(tmp_path: Path, column: pa.Array) -> None:
    uri = str(tmp_path / "a.parquet")
    whole = pa.table({"a.b": column, "x": column})
    pq.write_table(whole, uri, row_group_size=4)
    assert inspect(uri).schema.types == whole.schema.types
    part = read_rows(uri, ["a.b"], start=3, stop=11)
    assert part.schema.types == [column.type]
    assert part["a.b"].to_pylist() == column.to_pylist()[3:11]


@pytest.mark.parametrize(
    "content", [b"", b"ad_id,text\n1,x\n", b"PAR1" + b"\0" * 50 + b"PAR1"]
)
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    uri = put(tmp_path / "a.parquet", content)
    assert message(InputError, inspect, uri).startswith(
        f"{uri}: the file cannot be read as Parquet: "
    )
    assert message(InputError, read_rows, uri, ["text"]).startswith(
        f"{uri}: the file cannot be read as Parquet: "
    )


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    uri = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(1_000)}), uri)
    uri.write_bytes(uri.read_bytes()[:-200])
    assert message(InputError, inspect, str(uri)).startswith(
        f"{uri}: the file cannot be read as Parquet: "
    )


# CSV


def test_csv_values_are_text_as_written(tmp_path: Path) -> None:
    uri = put(
        tmp_path / "a.csv", "id,text,price\n007,true,1e5\n010,2026-01-01,\n,NA,NULL\n"
    )
    info = inspect(uri)
    assert info == TableInfo(
        pa.schema([(name, pa.string()) for name in ("id", "text", "price")]), [3], ","
    )
    assert read_rows(uri, ["price", "id", "text"]).to_pydict() == {
        "price": ["1e5", "", "NULL"],
        "id": ["007", "010", ""],
        "text": ["true", "2026-01-01", "NA"],
    }


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("blank", ["", "blank"])
def test_csv_line_ends_byte_order_mark_and_blank_first_lines_are_understood(
    tmp_path: Path, newline: str, mark: str, blank: str
) -> None:
    lines = [""] * bool(blank) + ["id,text", "007,да", "008,нет", ""]
    uri = put(tmp_path / "a.csv", mark * (not blank) + newline.join(lines))
    assert read_rows(uri, ["id", "text"]).to_pydict() == {
        "id": ["007", "008"],
        "text": ["да", "нет"],
    }
    assert inspect(uri).schema.names == ["id", "text"]


def test_a_quoted_header_after_a_byte_order_mark(tmp_path: Path) -> None:
    uri = put(tmp_path / "a.csv", '\ufeff"id","a, ""b""\nc"\n"007","1"\n')
    assert read_rows(uri, ["id", 'a, "b"\nc']).to_pydict() == {
        "id": ["007"],
        'a, "b"\nc': ["1"],
    }


csv_value = st.text("аб 07,\"'\n\r;\\#", max_size=6)


@given(
    rows=st.lists(st.tuples(csv_value, csv_value), min_size=1, max_size=8), data=st.data()
)
def test_read_rows_of_csv_equals_the_reader_of_python(
    rows: list[tuple[str, str]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Line breaks, quotes, commas in quoted fields; and every range equals a slice."""
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [("id", "text"), *rows]
    )
    uri = put(tmp_path_factory.mktemp("csv") / "a.csv", file.getvalue())
    _, *parsed = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert parsed == [list(row) for row in rows]
    assert inspect(uri).row_groups == [len(rows)]
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.one_of(st.none(), st.integers(start, len(rows) + 2)))
    table = read_rows(uri, ["text", "id"], start=start, stop=stop)
    assert (
        list(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
        == rows[start:stop]
    )


def test_a_long_csv_is_cut_like_a_slice(tmp_path: Path) -> None:
    """More than one block of the CSV reader (1 MiB)."""
    texts = [f"объявление {row} " + "х" * 100 for row in range(20_000)]
    uri = put(
        tmp_path / "a.csv",
        "id,text\n" + "".join(f'{row:06},"{text}\n"\n' for row, text in enumerate(texts)),
    )
    part = read_rows(uri, ["id", "text"], start=9_990, stop=15_000)
    assert part["id"].to_pylist() == [f"{row:06}" for row in range(9_990, 15_000)]
    assert part["text"].to_pylist() == [f"{text}\n" for text in texts[9_990:15_000]]


def test_read_rows_of_the_shards_of_a_csv_reads_it_through_once(
    tmp_path: Path, monkeypatch
) -> None:
    """Each shard took the time of the whole file, all shards together its square."""
    rows = [f"{row},объявление {row}" for row in range(1_000)]
    uris, read = [], []
    for name in ("a.csv", "b.csv"):
        uris.append(put(tmp_path / name, "\n".join(["id,text", *rows])))
    versions = [file.version for file in list_below(str(tmp_path)).files]

    def counted(uri, *arguments):
        read.append(uri)
        return read_csv(uri, *arguments)

    monkeypatch.setattr(tables, "read_csv", counted)
    found = []
    for uri, version in zip(uris, versions, strict=True):
        for start in range(0, 1_000, 100):
            table = read_rows(
                uri, ["text", "id"], start=start, stop=start + 100, version=version
            )
            found += zip(
                *[table[name].to_pylist() for name in ("id", "text")], strict=True
            )
    expected = [tuple(row.split(",")) for row in rows]
    assert found == expected * 2
    assert read == uris
    assert tables._KEPT == {}


def test_read_rows_of_a_csv_that_is_kept_knows_that_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    uri = put(path, "id\n1\n2\n")
    version = list_below(uri).files[0].version
    assert read_rows(uri, ["id"], stop=1, version=version)["id"].to_pylist() == ["1"]
    path.write_text("id\n3\n4\n")
    with pytest.raises(InputChangedError):
        read_rows(uri, ["id"], start=1, stop=2, version=version)
    newer = list_below(uri).files[0].version
    table = read_rows(uri, ["id"], start=1, stop=2, version=newer)
    assert table["id"].to_pylist() == ["4"]


def test_a_csv_with_a_header_alone_has_no_row_group(tmp_path: Path) -> None:
    uri = put(tmp_path / "a.csv", "id,text\n")
    assert inspect(uri) == TableInfo(
        pa.schema([("id", pa.string()), ("text", pa.string())]), [], ","
    )
    assert read_rows(uri, ["text"]).num_rows == 0


@pytest.mark.parametrize(
    ("header", "places"),
    [
        ("id,text,id", "1 and 3"),
        ("\ufeffid,text,id", "1 and 3"),
        ('text,"id","id"', "2 and 3"),
        ('"a\nb",id,id', "2 and 3"),
        ("\nid,id", "1 and 2"),
        ("8 916 123-45-67,диван,8 916 123-45-67", "1 and 3"),
    ],
)
def test_a_repeated_csv_column_is_named_by_its_places(
    tmp_path: Path, header: str, places: str
) -> None:
    """By its name a file without a header would tell what stands in an ad."""
    uri = put(tmp_path / "a.csv", f"{header}\n1,2,3\n")
    assert message(SchemaError, inspect, uri) == (
        f"{uri}: columns {places} of the header have the same name. Rename or drop one"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Empty CSV file"),
        (
            b"id,text\n1,x\n2\n",
            "the row that begins in line 3 has 1 column, the header has 2",
        ),
        (
            b"id,text\n1,x\n2,y,z\n",
            "the row that begins in line 3 has 3 columns, the header has 2",
        ),
        (
            "id,text\n1,шины\n".encode("cp1251"),
            "the text is not UTF-8. Save the file as UTF-8",
        ),
        (
            "номер,текст\n1,x\n".encode("cp1251"),
            "the text is not UTF-8. Save the file as UTF-8",
        ),
        (
            "id,text\n1,x\n".encode("utf-16"),
            "the text is not UTF-8. Save the file as UTF-8",
        ),
        (
            b"id,text\n" + b"1,x\n" * 5_000 + "2,шины\n".encode("cp1251"),
            "Save the file as UTF-8",
        ),
        (b'"id,text\n' + b"x" * 200_000, "line 1 is damaged (unexpected end of data"),
    ],
    ids=[
        "empty",
        "short row",
        "long row",
        "CP1251",
        "CP1251 header",
        "UTF-16",
        "late CP1251",
        "header",
    ],
)
def test_a_csv_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    uri = put(tmp_path / "a.csv", content)
    for line in (
        message(InputError, inspect, uri),
        message(InputError, read_rows, uri, ["text"]),
    ):
        assert line.startswith(f"{uri}: the file cannot be read as CSV: ")
        assert reason in line


def test_an_unclosed_quote_is_named_and_loses_no_rows(tmp_path):
    path = tmp_path / "ads.csv"
    path.write_text('ad_id,description\n1,"диван\n2,стол\n3,стул\n', encoding="utf-8")
    with pytest.raises(
        InputError,
        match=(
            r"ads\.csv: the file cannot be read as CSV: the row that begins in"
            r" line 2 is damaged \(unexpected end of data"
        ),
    ):
        read_rows(str(path), ["ad_id"])


def test_two_unclosed_quotes_do_not_cancel_each_other(tmp_path):
    path = tmp_path / "ads.csv"
    path.write_text(
        'ad_id,description\n1,"диван\n2,стол\n3,"труба\n4,стул\n', encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"the row that begins in line 2"):
        read_rows(str(path), ["ad_id"])


@pytest.mark.parametrize("text", ['3/4" дюйма', 'экран 15"', '"Труба 3/4"", сталь"'])
def test_an_inch_sign_is_no_unclosed_quote(tmp_path, text):
    path = tmp_path / "ads.csv"
    path.write_text(f"ad_id,description\n1,{text}\n2,стол\n", encoding="utf-8")
    assert read_rows(str(path), ["ad_id"])["ad_id"].to_pylist() == ["1", "2"]


# versions


def _in_place(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(first)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path: Path) -> None:
    """As `cp -p` or `rsync -t`: another file of the same name, size and time."""
    before = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(copy, path)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
@pytest.mark.parametrize("change", [_in_place, _replace, _truncate, _grow, Path.unlink])
def test_read_rows_of_a_file_that_changed_since_it_was_listed_says_so(
    tmp_path: Path, name: str, change
) -> None:
    path = tmp_path / name
    if name == "a.csv":
        put(path, "id\n1\n")
    else:
        pq.write_table(pa.table({"id": ["1"]}), path)
    version = list_below(str(path)).files[0].version
    assert read_rows(str(path), ["id"], version=version)["id"].to_pylist() == ["1"]
    change(path)
    expected = (
        f"{path}: this file changed after the job planned its work. Start the job"
        " again, so that it plans anew"
    )
    assert message(InputChangedError, inspect_version, str(path), version) == expected
    assert message(InputChangedError, read_version, str(path), version) == expected


def inspect_version(uri: str, version: str) -> None:
    inspect(uri, version=version)


def read_version(uri: str, version: str) -> None:
    read_rows(uri, ["id"], version=version)


@pytest.mark.parametrize("change", [_in_place, _replace, _grow])
def test_read_rows_of_a_file_that_changes_while_it_is_read_says_so(
    tmp_path: Path, change, monkeypatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["1"]}), path)
    version = list_below(str(path)).files[0].version
    batches = tables._batches

    def slow(*arguments):
        yield from batches(*arguments)
        change(path)

    monkeypatch.setattr(tables, "_batches", slow)
    assert "changed after the job planned" in message(
        InputChangedError, read_version, str(path), version
    )


# what a footer claims


def _claim(path: Path, num_rows: int) -> None:
    """Write a table of two rows whose footer says another number, in every place (a varint of
    thrift)."""
    pq.write_table(
        pa.table({"id": pa.array([1, 2], pa.int8())}),
        path,
        compression="none",
        write_statistics=False,
    )
    data = path.read_bytes()
    size = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - size : -8]

    def varint(number: int) -> bytes:
        number, out = number * 2, bytearray()
        while number > 127:
            out.append(number & 127 | 128)
            number >>= 7
        return bytes([*out, number])

    old, new = (
        b"\x16" + varint(2),
        b"\x16" + varint(num_rows),
    )  # an i64 field of the next id
    footer = footer.replace(old, new)
    path.write_bytes(
        data[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    )


def test_inspect_of_a_footer_that_claims_too_many_rows_refuses_it_at_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.parquet"
    _claim(path, 2**36)
    assert pq.read_metadata(path).num_rows == 2**36
    assert "its footer claims 68,719,476,736 rows in" in message(
        InputError, inspect, str(path)
    )
    _claim(path, 3)
    assert inspect(str(path)).row_groups == [3]


def test_read_rows_of_wide_rows_takes_few_at_a_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tables, "READ_BATCH_BYTES", 10_000)
    uri = str(tmp_path / "a.parquet")
    whole = pa.table({"id": range(50), "text": [chr(1040 + n) * 500 for n in range(50)]})
    pq.write_table(whole, uri, compression="none", use_dictionary=False)
    assert tables._batch_rows(pq.read_metadata(uri), [0]) in range(5, 11)
    assert read_rows(uri, ["text"], start=7, stop=33) == whole.select(["text"])[7:33]

import bz2
import gzip
import lzma
from pathlib import Path

import pyarrow as pa
import pytest

from rubert_ood.ads.tables import inspect, read_rows
from rubert_ood.errors import InputError
from rubert_ood.storage.listing import list_below

PHONE = "8 900 123-45-67"
PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    "lz4": lambda data: pa.Codec("lz4").compress(data, asbytes=True),
}


def put(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_read_csv_recognises_the_delimiter_of_the_header(
    tmp_path: Path, delimiter: str
) -> None:
    uri = put(
        tmp_path / "a.csv", f'id{delimiter}"a, b; c"\n1{delimiter}"x{delimiter}y"\n'
    )
    assert inspect(uri).delimiter == delimiter
    assert read_rows(uri, ["id", "a, b; c"]).to_pydict() == {
        "id": ["1"],
        "a, b; c": [f"x{delimiter}y"],
    }


def test_read_csv_takes_the_comma_where_two_delimiters_are_as_good(
    tmp_path: Path,
) -> None:
    uri = put(tmp_path / "a.csv", "id,a;b\n1,2\n")
    assert inspect(uri).schema.names == ["id", "a;b"]


def test_read_csv_takes_a_delimiter_that_is_given(tmp_path: Path) -> None:
    uri = put(tmp_path / "a.csv", "id,x^text\n1^2\n")
    assert inspect(uri, delimiter="^").schema.names == ["id,x", "text"]
    assert read_rows(uri, ["text"], delimiter="^").to_pydict() == {"text": ["2"]}


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst", "lz4", "xz", "GZ"])
def test_read_csv_unpacks_by_the_suffix(tmp_path: Path, suffix: str) -> None:
    plain = "id,text\n007,диван\n008,стол\n".encode()
    packed = PACKERS[suffix.lower()](plain)
    uri = put(tmp_path / f"a.csv.{suffix}", packed)
    version = list_below(uri).files[0].version
    assert inspect(uri, version=version).row_groups == [2]
    assert read_rows(uri, ["id", "text"], version=version).to_pydict() == {
        "id": ["007", "008"],
        "text": ["диван", "стол"],
    }


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst", "lz4", "xz"])
def test_read_csv_that_does_not_unpack_is_named(tmp_path: Path, suffix: str) -> None:
    uri = put(tmp_path / f"a.csv.{suffix}", b"id,text\n1,2\n")
    with pytest.raises(
        InputError,
        match=f"^{uri}: the file cannot be read as CSV: it does not decompress",
    ):
        inspect(uri)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst", "lz4", "xz"])
@pytest.mark.parametrize(
    "damage", [lambda packed: b"x" + packed[1:], lambda packed: packed[:-9]]
)
def test_read_csv_whose_second_stream_is_damaged_is_not_the_first_alone(
    tmp_path: Path, suffix: str, damage
) -> None:
    first, second = b"id,text\n1,a\n", b"2,b\n"
    pack = PACKERS[suffix]
    uri = put(tmp_path / f"a.csv.{suffix}", pack(first) + pack(second))
    assert inspect(uri).row_groups == [2]
    uri = put(tmp_path / f"b.csv.{suffix}", pack(first) + damage(pack(second)))
    with pytest.raises(InputError, match="it does not decompress"):
        inspect(uri)


@pytest.mark.parametrize(
    "content",
    [
        f"id;text\n1;диван, новый, {PHONE}\n",
        f"id,text\n1,диван, {PHONE}\n",
        f"id,text,city\n{PHONE}\n",
        f'id,text\n1,"диван {PHONE}\n',
        f'id,text\n1,"диван" {PHONE}\n',
        f"id,text\n1,{PHONE}\n2,шины\n".encode("cp1251"),
        f"id,text\n1,{PHONE}\x00\n" + "2" * 3_000_000 + "\n",
    ],
)
def test_no_message_of_a_bad_csv_quotes_a_cell(
    tmp_path: Path, content: str | bytes
) -> None:
    uri = put(tmp_path / "a.csv", content)
    for delimiter in ("", ",", ";"):
        said = ""
        try:
            inspect(uri, delimiter=delimiter)
        except InputError as error:
            said = str(error)
        assert not {word for word in (PHONE, "диван", "900") if word in said}


@pytest.mark.parametrize("delimiter", ["", ";"])
@pytest.mark.parametrize("line", ["sep=;", "\ufeffSEP=;", '"sep=;"', "sep=\t"])
def test_a_csv_that_begins_with_a_hint_for_spreadsheets_says_so(
    tmp_path: Path, line: str, delimiter: str
) -> None:
    uri = put(tmp_path / "a.csv", f"{line}\r\nid;text\r\n1;диван\r\n")
    with pytest.raises(InputError, match=r"a hint for spreadsheets. Remove that line"):
        inspect(uri, delimiter=delimiter)


def test_a_csv_with_another_delimiter_than_given_says_so(tmp_path: Path) -> None:
    uri = put(tmp_path / "a.csv", "id,text\n1;диван, новый, стол\n")
    with pytest.raises(
        InputError,
        match=(
            r"line 2 has 3 columns, the header has 2. Mend the row, or set"
            r" columns.delimiter .now ','"
        ),
    ):
        inspect(uri)

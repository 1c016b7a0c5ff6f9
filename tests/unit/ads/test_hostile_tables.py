"""Parquet files that want more than to be read: nothing in them is executed, and each ends in one
line."""

import base64
import json
import os
import pickle
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.dataset import read_labelled
from rubert_ood.ads.tables import inspect, read_rows
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.settings import ColumnSettings

COLUMNS = ["description", "category"]


class Planted:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "executed"


@pytest.fixture
def bomb(marker) -> bytes:
    return pickle.dumps(Planted(str(marker)), protocol=2)


def put(
    path: Path,
    fields: list[pa.Field] | None = None,
    metadata: dict[bytes, bytes] | None = None,
) -> str:
    fields = fields or [pa.field(name, pa.string()) for name in COLUMNS]
    table = pa.table([["диван"], ["Мебель"]], schema=pa.schema(fields, metadata=metadata))
    pq.write_table(table, path)
    return str(path)


@pytest.mark.parametrize(
    "extension",
    ["arrow.py_extension_type", "arrow.opaque", "somebody.type", "arrow.json"],
)
def test_an_extension_type_with_a_pickle_is_read_as_what_it_stores(
    tmp_path, marker, bomb, extension
):
    hostile = {
        b"ARROW:extension:name": extension.encode(),
        b"ARROW:extension:metadata": bomb,
    }
    fields = [
        pa.field("description", pa.string(), metadata=hostile),
        pa.field("category", pa.string()),
    ]
    uri = put(tmp_path / "a.parquet", fields)
    try:
        table = read_labelled(uri, ColumnSettings())
    except (InputError, SchemaError) as error:
        line = str(error)
    else:
        line = ""
        assert table["description"].to_pylist() == ["диван"]
    assert "\n" not in line
    assert not marker.exists()


def test_metadata_of_the_file_is_not_followed(tmp_path, marker, bomb):
    pandas = {
        "index_columns": [
            {"kind": "range", "name": None, "start": 0, "stop": 2**60, "step": 1}
        ],
        "columns": [
            {
                "name": "category",
                "pandas_type": "object",
                "numpy_type": "object",
                "metadata": {"x": "y"},
            }
        ],
        "creator": {"library": "__import__('os').mkdir('x')", "version": "1"},
    }
    metadata = {
        b"pandas": json.dumps(pandas).encode(),
        b"pickle": bomb,
        b"huggingface": base64.b64encode(bomb),
        b"\xff": b"\xfe",
    }
    uri = put(tmp_path / "a.parquet", metadata=metadata)
    assert read_rows(uri, COLUMNS).to_pydict() == {
        "description": ["диван"],
        "category": ["Мебель"],
    }
    assert not marker.exists()


def test_an_arrow_schema_that_does_not_fit_the_columns_is_one_line_or_not_used(
    tmp_path, marker, bomb
):
    schema = pa.schema(
        [pa.field("description", pa.binary(), metadata={b"ARROW:extension:name": b"x"})]
    )
    wrong = base64.b64encode(schema.serialize().to_pybytes())
    for hostile in (wrong, base64.b64encode(bomb), b"%%%", b""):
        uri = put(tmp_path / "a.parquet")
        table = pq.read_table(uri)
        with pq.ParquetWriter(uri, table.schema, store_schema=False) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({"ARROW:schema": hostile})
        try:
            assert read_rows(uri, COLUMNS)["category"].to_pylist() == ["Мебель"]
        except InputError as error:
            assert str(error).startswith(f"{uri}: the file cannot be read as Parquet: ")  # noqa: PT017
        assert not marker.exists()


def _with_footer(path: Path, footer: bytes, length: int | None = None) -> str:
    data = path.read_bytes()
    (old,) = struct.unpack("<I", data[-8:-4])
    size = struct.pack("<I", len(footer) if length is None else length)
    path.write_bytes(data[: -8 - old] + footer + size + b"PAR1")
    return str(path)


@pytest.mark.parametrize(
    ("footer", "length"),
    [
        (b"\xff" * 200, None),
        (b"\x15\x02\x19\xfc\xff\xff\xff\xff\x0f", None),  # a list of 2^32 columns
        (b"\x18\xff\xff\xff\xff\x0f" + b"a" * 20, None),  # a text of 2^32 bytes
        (b"\x1c" * 100_000, None),  # structs in structs
        (b"", 0),
        (b"abc", 2**31 - 1),
        (b"abc", 2**32 - 1),
    ],
    ids=[
        "noise",
        "long_list",
        "long_text",
        "deep",
        "empty",
        "length_2_31",
        "length_2_32",
    ],
)
def test_a_crafted_footer_is_one_line(tmp_path, footer, length):
    uri = put(tmp_path / "a.parquet")
    _with_footer(Path(uri), footer, length)
    for read in (inspect, lambda uri: read_rows(uri, COLUMNS)):
        with pytest.raises(InputError) as caught:
            read(uri)
        assert str(caught.value).startswith(
            f"{uri}: the file cannot be read as Parquet: "
        )
        assert "\n" not in str(caught.value)

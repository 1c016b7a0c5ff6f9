"""Rows of parts -> one Parquet file: every row once, in the order that was asked for."""

import io

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.runs.part import part_schema
from rubert_ood.sealing import rows
from rubert_ood.sealing.rows import row_groups, to_file

METADATA = {"run_id": "night", "bundle": "f", "code_version": "1"}


def _parts(sizes: list[int], seed: int = 0, hidden_size: int = 4) -> list[pa.Table]:
    """Parts of random rows, some ids twice."""
    rng = np.random.default_rng(seed)
    schema = part_schema([pa.field("price", pa.int64())], hidden_size, METADATA)
    parts = []
    for size in sizes:
        vectors = rng.normal(size=(size, hidden_size)).astype(np.float16)
        columns = {
            "ad_id": [f"ад-{n}" for n in rng.integers(0, 3 * sum(sizes), size)],
            "label": rng.choice(["Мебель", "Other"], size).tolist(),
            "topk_scores": [[0.5, 0.25]] * size,
            "ood_distance": rng.normal(size=size),
            "embedding": list(vectors),
            "price": [None if n % 3 else n for n in range(size)],
        }
        for name in schema.names:
            columns.setdefault(name, pa.nulls(size))
        arrays = [pa.array(columns[field.name], field.type) for field in schema]
        parts.append(pa.Table.from_arrays(arrays, schema=schema))
    return parts


@pytest.fixture(params=[7, 64, 2**17])
def group_rows(request, monkeypatch) -> int:
    monkeypatch.setattr(rows, "ROW_GROUP_ROWS", request.param)
    return request.param


def test_to_file_in_the_order_of_the_parts_is_their_rows_one_after_the_other(group_rows):
    parts = _parts([20, 0, 33, 1, 100])
    data = to_file(iter(parts), "none")
    found = pq.read_table(io.BytesIO(data))
    assert found.equals(pa.concat_tables(parts))
    assert found.schema.metadata == parts[0].schema.metadata
    assert found.schema.equals(parts[0].schema)


def test_to_file_by_ad_id_has_the_same_rows_sorted_equal_ids_in_their_order(group_rows):
    parts = _parts([20, 0, 33, 1, 100], seed=1)
    together = pa.concat_tables(parts)
    ids = together["ad_id"].to_pylist()
    assert len(set(ids)) < len(ids)
    order = sorted(range(len(ids)), key=lambda row: ids[row].encode())  # is stable
    found = pq.read_table(io.BytesIO(to_file(iter(parts), "ad_id")))
    assert found.equals(together.take(order))


@pytest.mark.parametrize("sort_by", ["none", "ad_id"])
def test_to_file_has_row_groups_of_so_many_rows_with_statistics(group_rows, sort_by):
    parts = _parts([20, 0, 33, 1, 100])
    file = pq.ParquetFile(io.BytesIO(to_file(iter(parts), sort_by)))
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    sizes = [group.num_rows for group in groups]
    assert sum(sizes) == 154
    assert set(sizes[:-1]) <= {group_rows}
    assert sizes[-1] <= group_rows
    position = 0
    table = file.read()
    for group, size in zip(groups, sizes, strict=True):
        column = group.column(0)
        ids = table["ad_id"].slice(position, size).to_pylist()
        position += size
        assert column.path_in_schema == "ad_id"
        assert column.compression == "ZSTD"
        assert (column.statistics.min, column.statistics.max) == (min(ids), max(ids))
        order = (pq.SortingColumn(0),) if sort_by == "ad_id" else ()
        assert tuple(group.sorting_columns) == order
        assert column.has_column_index == (sort_by == "ad_id")


def test_to_file_has_checksums_that_find_a_changed_page():
    data = bytearray(to_file(iter(_parts([5000])), "none"))
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    start = column.data_page_offset
    data[start + column.total_compressed_size // 2] ^= 1
    with pytest.raises(OSError, match=r"[Cc]hecksum|CRC"):
        pq.read_table(io.BytesIO(data), page_checksum_verification=True)


def test_to_file_of_unsorted_rows_has_a_bloom_filter_that_duckdb_uses(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(to_file(iter(_parts([5000])), "none"))
    table = pq.read_table(path)
    wanted = table["ad_id"][77].as_py()
    found = duckdb.sql(f"SELECT count(*) FROM '{path}' WHERE ad_id = '{wanted}'")
    expected = table["ad_id"].to_pylist().count(wanted)
    assert found.fetchall() == [(expected,)]
    between = f"{wanted}x"  # within the statistics, and not there
    probed = duckdb.sql(
        f"SELECT * FROM parquet_bloom_probe('{path}', 'ad_id', '{between}')"
    )
    assert [row[-1] for row in probed.fetchall()] == [True]


def test_to_file_without_rows_keeps_the_schema_and_without_parts_is_nothing():
    parts = _parts([0, 0])
    for sort_by in ("none", "ad_id"):
        found = pq.read_table(io.BytesIO(to_file(iter(parts), sort_by)))
        assert (found.num_rows, found.schema) == (0, parts[0].schema)
        assert to_file(iter([]), sort_by) == b""


def test_to_file_of_the_same_parts_is_the_same_to_the_byte():
    for sort_by in ("none", "ad_id"):
        one, other = (to_file(iter(_parts([300, 41])), sort_by) for _ in range(2))
        assert one == other


def test_row_groups_take_parts_only_as_they_are_needed(monkeypatch):
    monkeypatch.setattr(rows, "ROW_GROUP_ROWS", 50)
    taken = []

    def tables():
        for number, part in enumerate(_parts([20] * 10)):
            taken.append(number)
            yield part

    groups = row_groups(tables())
    assert next(groups).num_rows == 50
    assert taken == [0, 1, 2]


def test_files_are_read_by_duckdb_pandas_and_pyarrow_alike(tmp_path):
    parts = _parts([50, 60])
    for number in range(2):
        path = tmp_path / f"data-{number}.parquet"
        path.write_bytes(to_file(iter([parts[number]]), "none"))
    expected = pa.concat_tables(parts)["ad_id"].to_pylist()
    found = duckdb.sql(f"SELECT ad_id FROM '{tmp_path}/*.parquet'").fetchall()
    assert [row[0] for row in found] == expected
    assert pd.read_parquet(tmp_path)["ad_id"].tolist() == expected

"""Token ids of a node: the rows by their numbers, whatever blocks they came in."""

import os

import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.training.token_table import map_table, share_table, write_table
from tests.unit.training.process_group import on_two_workers

ROWS = 200


def _ids(row: int) -> list[int]:
    return [row] * (row % 7 + 1)


def _blocks() -> list[pa.Table]:
    """Rows 0, 3, 6, ... in random order and blocks of several sizes."""
    rows = 3 * np.random.default_rng(0).permutation(ROWS)
    blocks = []
    for chosen in np.split(rows, [50, 51, 120]):
        ids = pa.array([_ids(row) for row in chosen], pa.list_(pa.int32()))
        labels = pa.array([row % 10 for row in chosen], pa.int64())
        table = pa.table({"row": pa.array(chosen), "label": labels, "ids": ids})
        blocks.append(pa.concat_tables([table.slice(0, 20), table.slice(20)]))
    return blocks


def test_token_table_has_the_rows_in_the_order_of_their_numbers(tmp_path):
    write_table(str(tmp_path), _blocks())
    table = map_table(str(tmp_path))
    assert len(table) == ROWS
    assert table.lengths_N.tolist() == [len(_ids(3 * n)) for n in range(ROWS)]
    chosen = np.array([199, 0, 7, 7, 42])
    taken = table.take(chosen)
    assert taken["ids"].to_pylist() == [_ids(3 * n) for n in chosen]
    assert taken["label"].to_pylist() == [3 * n % 10 for n in chosen]
    assert taken.schema.field("ids").type == pa.list_(pa.int32())


def test_token_table_is_mapped_and_outlives_its_files(tmp_path):
    write_table(str(tmp_path), _blocks())
    table = map_table(str(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    assert isinstance(table.ids_T, np.memmap)
    assert isinstance(table.starts_N, np.memmap)
    assert table.take(np.array([5]))["ids"].to_pylist() == [_ids(15)]


def test_token_table_of_nothing_is_empty(tmp_path):
    write_table(str(tmp_path), [])
    table = map_table(str(tmp_path))
    assert len(table) == 0
    assert table.take(np.array([], np.int64)).num_rows == 0


@pytest.mark.parametrize("nodes", [(0, 0), (0, 1)])
def test_share_table_writes_one_copy_on_each_node(tmp_path, monkeypatch, nodes):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def worker(rank: int) -> tuple[int, list[int]]:
        local_rank = rank if nodes == (0, 0) else 0
        read = []

        def blocks():
            read.append(rank)
            yield from _blocks()

        table = share_table(blocks(), node=nodes[rank], local_rank=local_rank)
        return len(read), table.take(np.arange(ROWS))["label"].to_pylist()

    found = on_two_workers(worker, tmp_path)
    assert [num_read for num_read, _ in found] == ([1, 0] if nodes == (0, 0) else [1, 1])
    assert found[0][1] == found[1][1] == [3 * n % 10 for n in range(ROWS)]
    assert [name for name in os.listdir(tmp_path) if name.startswith("rubert")] == []

"""What a comparison reads of the files of a run; whole run folders are read in tests/ray."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.comparing import whole_run
from rubert_ood.comparing.counts import ROW_SCHEMA
from rubert_ood.comparing.whole_run import (
    Piece,
    all_pieces,
    num_partitions,
    pieces,
    read_piece,
)
from rubert_ood.errors import InputError
from tests.unit.comparing.runs import random_run


def test_a_file_is_read_in_the_columns_that_are_compared(tmp_path):
    run = random_run(tmp_path / "a", seed=1)
    uri, rows = run.files[0]
    table = pq.read_table(uri)
    wider = table.append_column("carried", pa.nulls(rows)).cast(
        pa.schema([*table.schema, pa.field("carried", pa.string())])
    )
    pq.write_table(wider, uri)
    read = read_piece(Piece(uri, 0, None), in_b=True)
    assert read.schema == ROW_SCHEMA
    assert read.drop_columns("in_b").equals(table)
    assert read["in_b"].to_pylist() == [True] * rows


def test_a_file_that_is_missing_or_lacks_a_column_is_named(tmp_path):
    path = tmp_path / "part.parquet"
    with pytest.raises(InputError, match=r"part\.parquet"):
        read_piece(Piece(str(path), 0, None), in_b=False)
    pq.write_table(pa.table({"ad_id": ["1"]}), path)
    with pytest.raises(
        InputError,
        match=(
            r"part\.parquet: the file has no column .*label.*\. Run `rubert-ood verify` on"
            " its run"
        ),
    ):
        read_piece(Piece(str(path), 0, None), in_b=False)


def test_partitions_are_as_many_as_the_rows_of_both_runs_ask_for(tmp_path, monkeypatch):
    a, b = (
        random_run(tmp_path / "a", seed=1),
        random_run(tmp_path / "b", seed=2, num_parts=1),
    )
    assert (a.num_rows, b.num_rows) == (200, 40)
    for partition_rows, expected in ((240, 1), (239, 2), (100, 3)):
        monkeypatch.setattr(whole_run, "PARTITION_ROWS", partition_rows)
        assert num_partitions(a, b) == expected
    assert [in_b for _, in_b in all_pieces(a, b)] == [False] * 5 + [True]


def test_pieces_of_a_large_file_are_its_rows_each_once_also_those_beyond_its_count(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(whole_run, "PIECE_ROWS", 15)
    run = random_run(tmp_path / "a", seed=1, num_parts=2)
    assert [rows for _, rows in pieces(run)] == [15, 15, 10, 15, 15, 10]
    read = [read_piece(piece, in_b=False) for piece, _ in pieces(run)]
    whole = [pq.read_table(uri) for uri, _ in run.files]
    assert pa.concat_tables(read).drop_columns("in_b").equals(pa.concat_tables(whole))
    run.files[1] = (run.files[1][0], 31)  # the file has 40
    read = [read_piece(piece, in_b=False).num_rows for piece, _ in pieces(run)]
    assert read == [15, 15, 10, 15, 15, 10]
    run.files[:] = [(run.files[0][0], 0)]
    assert [piece for piece, _ in pieces(run)] == [Piece(run.files[0][0], 0, None)]

"""What a comparison reads of the parts of a run; whole run folders are read in tests/ray."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.comparing import whole_run
from rubert_ood.comparing.counts import ROW_SCHEMA
from rubert_ood.comparing.whole_run import all_parts, num_partitions, read_part
from rubert_ood.errors import InputError
from tests.unit.comparing.runs import random_run


def test_a_part_is_read_in_the_columns_that_are_compared(tmp_path):
    run = random_run(tmp_path / "a", seed=1)
    uri, rows = run.parts[0]
    table = pq.read_table(uri)
    wider = table.append_column("carried", pa.nulls(rows)).cast(
        pa.schema([*table.schema, pa.field("carried", pa.string())])
    )
    pq.write_table(wider, uri)
    read = read_part(uri, in_b=True)
    assert read.schema == ROW_SCHEMA
    assert read.drop_columns("in_b").equals(table)
    assert read["in_b"].to_pylist() == [True] * rows


def test_a_part_that_is_missing_or_lacks_a_column_is_named(tmp_path):
    path = tmp_path / "part.parquet"
    with pytest.raises(InputError, match=r"part\.parquet"):
        read_part(str(path), in_b=False)
    pq.write_table(pa.table({"ad_id": ["1"]}), path)
    with pytest.raises(InputError, match=r"part\.parquet: no column .*label"):
        read_part(str(path), in_b=False)


def test_partitions_are_as_many_as_the_rows_of_both_runs_ask_for(tmp_path, monkeypatch):
    a, b = (
        random_run(tmp_path / "a", seed=1),
        random_run(tmp_path / "b", seed=2, num_parts=1),
    )
    assert (a.num_rows, b.num_rows) == (200, 40)
    for partition_rows, expected in ((240, 1), (239, 2), (100, 3)):
        monkeypatch.setattr(whole_run, "PARTITION_ROWS", partition_rows)
        assert num_partitions(a, b) == expected
    assert [in_b for _, in_b in all_parts(a, b)] == [False] * 5 + [True]

"""A part against its receipt; most of what is found stands in test_verify.py, for older runs."""

import pyarrow.parquet as pq
import pytest

from rubert_ood.errors import VerificationError
from rubert_ood.runs.check_part import check_part, check_rejected
from rubert_ood.runs.part_counts import COUNTED_COLUMNS


def _check(run, number: int = 2, columns=None):
    return check_part(run.plan, run.plan.shards[number], run.receipts[number], columns)


def test_check_part_returns_the_part_or_some_of_its_columns(full_run):
    for number in range(12):
        part = pq.read_table(full_run.part(number))
        assert _check(full_run, number).equals(part)
        assert _check(full_run, number).schema.metadata == part.schema.metadata
        some = _check(full_run, number, COUNTED_COLUMNS)
        assert some.equals(part.select(COUNTED_COLUMNS))


def test_check_part_names_the_part_of_a_sealed_run_where_it_lies(run):
    run.part(2).unlink()
    with pytest.raises(VerificationError) as error:
        _check(run)
    assert str(error.value) == f"{run.part(2)}: no such file, folder or bucket"


def test_check_part_finds_a_page_that_was_changed(run):
    data = bytearray(run.part(2).read_bytes())
    data[60] ^= 1
    run.part(2).write_bytes(data)
    with pytest.raises(VerificationError, match=run.part(2).name):
        _check(run)


def test_check_part_of_all_columns_names_one_that_is_not_there(run):
    table = pq.read_table(run.part(2)).drop_columns(["label"])
    pq.write_table(table, run.part(2))
    with pytest.raises(VerificationError, match="no column 'label'"):
        _check(run)


def test_check_rejected_of_a_sealed_run_knows_no_older_name(run):
    shard = run.plan.shards[4]
    path = run.folder / shard.rejected_name
    check_rejected(run.plan, shard, run.receipts[4])
    path.rename(run.folder / shard.older_rejected_name)
    with pytest.raises(VerificationError, match=rf"{path.name}: no such file"):
        check_rejected(run.plan, shard, run.receipts[4])

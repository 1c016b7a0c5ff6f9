import dataclasses

import pyarrow as pa
import pytest

from rubert_ood.runs.plan import Shard
from rubert_ood.runs.profile import Cities, ShardProfile
from rubert_ood.runs.receipts import Timing
from rubert_ood.runs.reuse import ReuseCounts
from rubert_ood.scoring.batch import (
    RESULT,
    from_batch,
    result_batch,
    result_of,
    to_batch,
)
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.item import ShardItem, ShardResult
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.shard_counts import ShardCounts

SHARD = Shard("00000-ab", "s3://b/ads.csv", {"ad_id": "id", "title": "t"}, 5, 9, "v", ";")


def _same(left: ShardItem, right: ShardItem) -> None:
    for field in dataclasses.fields(ShardItem):
        one, other = getattr(left, field.name), getattr(right, field.name)
        if isinstance(one, pa.Table):
            assert one.equals(other, check_metadata=True), field.name
        else:
            assert one == other, field.name


@pytest.mark.parametrize(
    "item",
    [
        ShardItem(SHARD),
        ShardItem(SHARD, failure="a.parquet: damaged", fault="shard"),
        ShardItem(
            SHARD,
            timing=Timing(1.5, 2.5, 0.25),
            profile=ShardProfile(
                cities=Cities(rows=3, rows_unseen=2, unseen={"Тверь": 1, "": 1}),
                scored_tokens=9,
                padded_tokens=7,
            ),
        ),
        ShardItem(
            SHARD,
            reused=pa.table({"text_key": ["a", "b"], "label": ["x", None]}),
            checks=pa.table({"text_key": pa.array([], pa.string())}),
            reuse=ReuseCounts(texts_scored=3, texts_reused=2, without_index=True),
            mismatch="label differ",
        ),
    ],
    ids=["new", "failed", "with a profile", "with reuse"],
)
def test_from_batch_gives_back_what_to_batch_took(item):
    batch = to_batch(item)
    assert batch.num_rows == 1
    _same(from_batch(batch), item)


def test_from_batch_gives_back_the_tables_of_every_stage(full_run):
    """Shards with rejected rows, with empty texts only, and without a row to score."""
    job = ScoringJob.of(full_run.plan)
    scorer = Scorer(job)
    for number in (1, 7, len(full_run.plan.shards) - 1):
        encoded = encode(ShardItem(full_run.plan.shards[number]), job)
        assert not encoded.failure
        _same(from_batch(to_batch(encoded)), encoded)
        scored = scorer(encoded)
        assert not scored.failure
        _same(from_batch(to_batch(scored)), scored)


def test_from_batch_of_a_slice_of_another_table_reads_its_own_row(full_run):
    """As Ray may hand a block on."""
    job = ScoringJob.of(full_run.plan)
    items = [encode(ShardItem(full_run.plan.shards[number]), job) for number in (1, 2)]
    both = pa.concat_tables([to_batch(item) for item in items]).combine_chunks()
    for number, item in enumerate(items):
        _same(from_batch(both.slice(number, 1)), item)


def test_to_batch_does_not_copy_the_rows(full_run):
    job = ScoringJob.of(full_run.plan)
    item = encode(ShardItem(full_run.plan.shards[1]), job)
    before = [
        column.chunk(0).buffers()[-1].address for column in item.texts.select([0]).columns
    ]
    again = from_batch(to_batch(item)).texts.select([0])
    assert [column.chunk(0).buffers()[-1].address for column in again.columns] == before


def test_result_batch_is_one_row_of_text():
    batch = result_batch(ShardResult("00000-ab", "why", "run"))
    assert batch.schema == RESULT
    (row,) = batch.drop_columns("counts").to_pylist()
    assert row == {
        "shard_id": "00000-ab",
        "failure": "why",
        "fault": "run",
        "trace": "",
    }


def test_result_of_a_batch_has_the_counts_that_were_laid_out():
    counts = ShardCounts(rows_scored=7, rows_ood=2, rows_other=3, seconds=1.25)
    (row,) = result_batch(ShardResult("00000-ab", counts=counts)).to_pylist()
    assert row["counts"]["rows_scored"] == 7
    assert result_of(row) == ShardResult("00000-ab")
    assert result_of(row).counts == counts

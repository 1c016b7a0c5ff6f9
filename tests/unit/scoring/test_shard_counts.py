"""Counts of shards, from receipts and added up."""

from rubert_ood.runs.receipts import read_receipts
from rubert_ood.scoring.shard_counts import NO_COUNTS, ShardCounts


def test_shard_counts_of_all_receipts_are_the_counts_of_the_run(run):
    receipts = read_receipts(run.plan.run_uri, run.plan.fingerprint).values()
    total = NO_COUNTS
    for receipt in receipts:
        total += ShardCounts.of(receipt, "another run")
    assert total.rows_scored == sum(receipt.rows_scored for receipt in receipts) > 0
    assert total.rows_other == sum(r.classes.get("Other", 0) for r in receipts)
    assert total.rows_reused == sum(sum(r.scored_in.values()) for r in receipts)


def test_shard_counts_of_rows_that_this_run_computed_are_not_reused(run):
    receipts = read_receipts(run.plan.run_uri, run.plan.fingerprint).values()
    receipt = next(iter(receipts)).model_copy(update={"scored_in": {"me": 6, "old": 2}})
    assert ShardCounts.of(receipt, "me").rows_reused == 2

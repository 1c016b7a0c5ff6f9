"""Which shards are scored again once reuse was stopped."""

from dataclasses import replace

import pytest

from rubert_ood.runs.receipts import put_quarantine
from rubert_ood.runs.reuse import ReusedRun, ReuseStop, stop_reuse
from rubert_ood.scoring.stale import stale_shards
from tests.unit.made_up_receipts import a_plan, a_receipt, put_receipt

REUSED = ReusedRun(run_uri="/before", run_id="old", index_sha256="0", check_fraction=0.5)
STOP = ReuseStop(
    shard_id="a", reused_uri="/before", texts_checked=9, texts_mismatched=2, reason="x"
)


@pytest.fixture
def plan(tmp_path):
    """Shard 0 was scored, 1 took results over, 2 is quarantined, 3 has nothing yet."""
    plan = replace(a_plan(str(tmp_path), 4), reuse=REUSED)
    put_receipt(plan, a_receipt(plan, 0))
    put_receipt(plan, a_receipt(plan, 1, reuse={"texts_reused": 1}))
    put_quarantine(plan, plan.shards[2], "no rows")
    return plan


def test_stale_shards_after_a_stop_are_those_without_a_result_of_this_run(plan, caplog):
    stop_reuse(plan.run_uri, STOP)
    assert stale_shards(plan) == [plan.shards[1], plan.shards[3]]
    assert "of 9 checked results of /before 2 differ (x)" in caplog.text


def test_stale_shards_have_those_that_an_earlier_start_quarantined_and_a_later_one_reused(
    plan,
):
    """The record of the earlier start is still there: the receipt that it lost to counts no
    more, and its rows would be missing."""
    put_quarantine(plan, plan.shards[1], "out of memory")
    stop_reuse(plan.run_uri, STOP)
    assert stale_shards(plan) == [plan.shards[1], plan.shards[3]]


def test_stale_shards_without_a_stop_are_none(plan):
    assert stale_shards(plan) == []


def test_stale_shards_of_a_plan_that_reuses_nothing_are_none(plan):
    stop_reuse(plan.run_uri, STOP)
    assert stale_shards(replace(plan, reuse=None)) == []

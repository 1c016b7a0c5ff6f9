"""What the driver sends while shards come back, against numbers made by hand."""

from datetime import UTC, datetime

import pytest

from rubert_ood.scoring import series
from rubert_ood.scoring.run_metrics import NoSender, RunMetrics, make_sender
from rubert_ood.scoring.shard_counts import ShardCounts
from rubert_ood.settings import ScoreSettings

START = 1_000_000.0


class Sent:
    """Keeps the last value of each series, and every observation."""

    def __init__(self) -> None:
        self.last: dict[series.Series, float] = {}
        self.observed: list[float] = []

    def send(self, one: series.Series, value: float) -> None:
        if one.kind == "histogram":
            self.observed.append(value)
        self.last[one] = value


@pytest.fixture
def play(run):
    """Metrics of a made-up run of which two shards are left, on a clock that a test moves."""

    class Play:
        now = START
        sent = Sent()
        plan = run.plan
        todo = run.plan.shards[-2:]

        def start(self, deadline=None) -> RunMetrics:
            return RunMetrics(self.plan, self.todo, deadline, self.sent, lambda: self.now)

    return Play()


def test_run_metrics_at_the_start_send_the_plan_and_what_earlier_starts_did(play):
    play.start()
    last = play.sent.last
    num_left = sum(shard.num_rows for shard in play.todo)
    assert last[series.SHARDS_PLANNED] == len(play.plan.shards)
    assert last[series.SHARDS_DONE] == len(play.plan.shards) - 2
    assert last[series.ROWS_DONE] == last[series.ROWS_PLANNED] - num_left
    assert last[series.ROWS_SCORED] == last[series.SHARDS_QUARANTINED] == 0
    assert last[series.STARTED] == last[series.LAST_SHARD] == START
    assert not {series.EXPECTED_END, series.DEADLINE} & last.keys()


def test_run_metrics_add_shards_up_and_expect_the_end_at_their_rate(play):
    metrics = play.start()
    first, second = (shard.num_rows for shard in play.todo)
    play.now = START + 50
    metrics.add(first, ShardCounts(8, 2, 1, 3, 4, 5, seconds=1.5))
    last = play.sent.last
    assert last[series.EXPECTED_END] == pytest.approx(START + 50 + 50 * second / first)
    assert last[series.LAST_SHARD] == START + 50
    metrics.add(second, ShardCounts(10, 0, 0, 1, 2, 0, seconds=2.5))
    names = ("SCORED", "REJECTED", "EMPTY", "OOD", "OTHER", "REUSED")
    values = [last[getattr(series, f"ROWS_{name}")] for name in names]
    assert values == [18, 2, 1, 4, 6, 5]
    assert last[series.SHARDS_DONE] == last[series.SHARDS_PLANNED]
    assert play.sent.observed == [1.5, 2.5]
    assert last[series.EXPECTED_END] == START + 50


@pytest.mark.parametrize(("deadline", "warnings"), [(START + 60, 1), (START + 200, 0)])
def test_run_metrics_warn_once_of_an_end_after_the_deadline(
    play, deadline, warnings, caplog
):
    metrics = play.start(datetime.fromtimestamp(deadline, UTC))
    assert play.sent.last[series.DEADLINE] == deadline
    for second in (50, 90):
        play.now = START + second
        metrics.add(play.todo[0].num_rows // 2, ShardCounts())
    late = [one for one in caplog.records if "after the deadline" in one.getMessage()]
    assert len(late) == warnings


def test_run_metrics_count_quarantined_shards(play):
    metrics = play.start()
    metrics.add_quarantined()
    metrics.add_quarantined()
    assert play.sent.last[series.SHARDS_QUARANTINED] == 2


def test_make_sender_of_the_local_executor_sends_nothing():
    settings = ScoreSettings(
        input_uri="in", bundle_uri="b", output_uri="out", executor="local"
    )
    assert isinstance(make_sender(settings, "v7"), NoSender)

import logging

import pytest

from rubert_ood import progress
from rubert_ood.progress import Progress, StepLog


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    caplog.set_level(logging.INFO, "rubert_ood")
    fake = Clock()
    monkeypatch.setattr(progress, "time", fake)
    return fake


def test_progress_has_a_line_every_five_seconds_and_one_at_the_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    step = Progress("score", 10_000, "ads")
    for _ in range(20):
        clock.now += 1
        step.add(500)
    assert caplog.messages == [
        "score     2,500/10,000 ads  500 ads/s  0:15 left",
        "score     5,000/10,000 ads  500 ads/s  0:10 left",
        "score     7,500/10,000 ads  500 ads/s  0:05 left",
        "score     10,000/10,000 ads  500 ads/s",
    ]


def test_progress_says_minutes_left_and_a_slow_rate(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    step = Progress("features", 100, "batches")
    clock.now += 40
    step.add(10)  # 0.25 a second, 90 to go: 360 s
    assert caplog.messages == ["features  10/100 batches  0 batches/s  6:00 left"]


def test_progress_rate_does_not_count_what_was_done_before(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    step = Progress("score", 1_000, "ads", done=800)
    clock.now += 10
    step.add(100)
    assert caplog.messages == ["score     900/1,000 ads  10 ads/s  0:10 left"]


def test_progress_has_no_line_before_five_seconds(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    step = Progress("score", 1_000, "ads")
    clock.now += 4.9
    step.add(999)
    assert caplog.messages == []


def test_progress_without_a_rate_has_no_forecast(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    step = Progress("score", 1_000, "ads")
    clock.now += 60
    step.add(0)
    Progress("score", 0, "ads").add(0)
    assert caplog.messages[0].startswith("score     0/1,000 ads  0 ads/s")
    assert caplog.messages[1] == "score     0/0 ads  0 ads/s"


def test_step_log_puts_the_name_of_the_step_in_a_column(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "rubert_ood")
    StepLog("run").info("%s is there", "one")
    StepLog("published").warning("two")
    assert caplog.messages == ["run       one is there", "published two"]

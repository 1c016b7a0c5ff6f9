"""What the driver sends of a run while shards come back, and when it expects the end.

Rows are counted here, not in the tasks that write: a shard comes back once, but a task may run
twice, and its process may end before Ray has exported its last counts.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from rubert_ood.progress import StepLog
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.scoring.series import (
    DEADLINE,
    EXPECTED_END,
    LAST_SHARD,
    ROWS_DONE,
    ROWS_EMPTY,
    ROWS_OOD,
    ROWS_OTHER,
    ROWS_PLANNED,
    ROWS_REJECTED,
    ROWS_REUSED,
    ROWS_SCORED,
    SHARD_SECONDS,
    SHARDS_DONE,
    SHARDS_PLANNED,
    SHARDS_QUARANTINED,
    STARTED,
    Series,
)
from rubert_ood.scoring.shard_counts import NO_COUNTS, ShardCounts
from rubert_ood.settings import ScoreSettings

log = StepLog("score")

FIRST_SHARE = 0.1
"""Of the ads of this start that must be done before the log speaks of the expected end."""


class Sender(Protocol):
    """Takes values of series."""

    def send(self, series: Series, value: float) -> None:
        """Set a gauge, add to a counter, or observe a value."""
        ...


class NoSender:
    """Where there is no Ray."""

    def send(self, series: Series, value: float) -> None:
        """Leave it."""


def make_sender(settings: ScoreSettings, model: str) -> Sender:
    """Return what sends to Ray; with the local executor nothing is sent."""
    if settings.executor == "local":
        return NoSender()
    from rubert_ood.scoring.ray_metrics import RaySender

    sender = RaySender(model)
    sender.keep_repeating()
    return sender


class RunMetrics:
    """Adds up what comes back, and sends it."""

    def __init__(
        self,
        plan: Plan,
        todo: list[Shard],
        deadline: datetime | None,
        sender: Sender,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`deadline` is when the run should have ended, with a time zone."""
        self._sender, self._clock = sender, clock
        self._deadline = deadline
        self._started_at = clock()
        self._rows_planned = plan.num_rows
        self._rows_before = plan.num_rows - sum(shard.num_rows for shard in todo)
        self._rows_done = self._rows_before
        self._shards_done = len(plan.shards) - len(todo)
        self._num_quarantined = 0
        self._counts = NO_COUNTS
        self._has_warned = False
        sender.send(SHARDS_PLANNED, len(plan.shards))
        sender.send(ROWS_PLANNED, plan.num_rows)
        sender.send(STARTED, self._started_at)
        if deadline is not None:
            sender.send(DEADLINE, deadline.timestamp())
        self._send()

    def add(self, rows: int, counts: ShardCounts) -> None:
        """Count a shard that is done."""
        self._rows_done += rows
        self._shards_done += 1
        self._counts += counts
        self._sender.send(SHARD_SECONDS, counts.seconds)
        self._send()
        self._send_expected_end()

    def add_quarantined(self) -> None:
        """Count a shard that was quarantined."""
        self._num_quarantined += 1
        self._sender.send(SHARDS_QUARANTINED, self._num_quarantined)

    def _send(self) -> None:
        counts = self._counts
        for series, value in (
            (SHARDS_DONE, self._shards_done),
            (SHARDS_QUARANTINED, self._num_quarantined),
            (ROWS_DONE, self._rows_done),
            (ROWS_SCORED, counts.rows_scored),
            (ROWS_REJECTED, counts.rows_rejected),
            (ROWS_EMPTY, counts.rows_empty),
            (ROWS_OOD, counts.rows_ood),
            (ROWS_OTHER, counts.rows_other),
            (ROWS_REUSED, counts.rows_reused),
            (LAST_SHARD, self._clock()),
        ):
            self._sender.send(series, value)

    def _send_expected_end(self) -> None:
        done = self._rows_done - self._rows_before
        if not done:  # shards without rows
            return
        now = self._clock()
        left = self._rows_planned - self._rows_done
        expected = now + left * (now - self._started_at) / done
        self._sender.send(EXPECTED_END, expected)
        is_told = done >= FIRST_SHARE * (self._rows_planned - self._rows_before)
        if is_told and self._deadline is not None and not self._has_warned:
            self._warn_if_late(expected, self._deadline)

    def _warn_if_late(self, expected: float, deadline: datetime) -> None:
        if expected <= deadline.timestamp():
            return
        self._has_warned = True
        at = datetime.fromtimestamp(expected, deadline.tzinfo or UTC)
        log.warning(
            "the last ad will be scored at about %s, after the deadline at %s (deadline_h)",
            at.isoformat(" ", "minutes"),
            deadline.isoformat(" ", "minutes"),
        )

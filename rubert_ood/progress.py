"""Progress lines for long steps: plain log lines, so that they read the same in a terminal and in a
CI log."""

import logging
import time
from collections.abc import MutableMapping
from typing import Any

INTERVAL_S = 5.0


class StepLog(logging.LoggerAdapter[logging.Logger]):
    """Log lines of one step of a job: its name stands in front, in a column of its own."""

    def __init__(self, step: str) -> None:
        """Name the step in at most nine characters, or its column is wider."""
        super().__init__(logging.getLogger(__name__))
        self.step = step

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[str, MutableMapping[str, Any]]:
        """Put the name of the step before a message, and into the record (`step`)."""
        kwargs["extra"] = {"step": self.step, **(kwargs.get("extra") or {})}
        return f"{self.step:<9} {msg}", kwargs


class Progress:
    """Count finished units and log, at most every 5 s and at the end, how many, how fast, and how
    long still."""

    def __init__(self, step: str, total: int, unit: str, *, done: int = 0) -> None:
        """Begin with so many units done already; they count for no speed."""
        self.step, self.total, self.unit = step, total, unit
        self._log = StepLog(step)
        self.done = self._done_before = done
        self._started = self._logged = time.monotonic()

    def add(self, count: int) -> None:
        """Count units that are finished now."""
        self.done += count
        now = time.monotonic()
        if self.done >= self.total or now - self._logged >= INTERVAL_S:
            self._logged = now
            rate = (self.done - self._done_before) / max(now - self._started, 1e-9)
            left_s = (self.total - self.done) / rate if rate else 0
            end = f"  {time_left(left_s)}" if self.done < self.total else ""
            done = f"{self.done:,}/{self.total:,} {self.unit}"
            # a record of a line that the next one replaces
            passing = {"passing": bool(end)}
            self._log.info(f"{done}  {rate:,.0f} {self.unit}/s{end}", extra=passing)


def time_left(seconds: float) -> str:
    """Return minutes and seconds, as `3:20 left`."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d} left"

"""When a device was at work, by its own clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Protocol, Self, TypeVar

Result = TypeVar("Result")


class Mark(Protocol):
    """A point in the work of a device; `torch.cuda.Event` is one."""

    def synchronize(self) -> None:
        """Wait until the device has come so far."""

    def elapsed_time(self, end_event: Self, /) -> float:
        """Return the milliseconds from this mark to another that has passed as well."""


class HostMark:
    """A point that has passed when it is made."""

    def __init__(self) -> None:
        self._at_s = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing is in flight."""

    def elapsed_time(self, end_event: "HostMark", /) -> float:
        """Return milliseconds."""
        return (end_event._at_s - self._at_s) * 1000


@dataclass(frozen=True)
class Span:
    """The work on one shard."""

    begun: Mark
    ended: Mark

    def busy_s(self, before: "Span | None") -> float:
        """Return the seconds of this work, after it has ended, that are not of the work before."""
        seconds = self.begun.elapsed_time(self.ended) / 1000
        return max(0.0, seconds + min(0.0, self._gap_s(before)))

    def idle_s(self, before: "Span | None") -> float:
        """Return the seconds that the device stood still since the work before; 0 before the
        first."""
        return max(0.0, self._gap_s(before))

    def _gap_s(self, before: "Span | None") -> float:
        """Return the seconds since the work before; negative where it ended after this began."""
        return 0.0 if before is None else before.ended.elapsed_time(self.begun) / 1000


class SharedClock:
    """Gives spans of work that several threads do at a time on the same cores.

    A span begins where the first of the work began that was going on when it ended: so one after
    the other, each without the one before, they are the time in which any work went on.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._begun: list[HostMark] = []

    def time(self, work: Callable[[], Result]) -> tuple[Result, Span]:
        """Do the work; return its result and its span."""
        with self._lock:
            begun = HostMark()
            self._begun.append(begun)
        try:
            result = work()
        finally:
            with self._lock:
                span = Span(self._begun[0], HostMark())
                self._begun.remove(begun)
        return result, span

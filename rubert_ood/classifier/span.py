"""When a device was at work, by its own clock."""

import time
from dataclasses import dataclass
from typing import Protocol, Self


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

    @property
    def busy_s(self) -> float:
        """Seconds of this work, after it has ended."""
        return self.begun.elapsed_time(self.ended) / 1000

    def idle_s(self, before: "Span | None") -> float:
        """Return the seconds that the device stood still since the work before; 0 before the
        first."""
        return 0.0 if before is None else before.ended.elapsed_time(self.begun) / 1000

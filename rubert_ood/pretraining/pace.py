"""How fast a pretraining goes, and how long still."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rubert_ood.progress import INTERVAL_S
from rubert_ood.training.batches import Batch


@dataclass
class Pace:
    """Counts the steps of an epoch on one worker; the others go as fast."""

    num_steps: int
    """Of the epoch."""
    done: int
    """Of them before; they count for no speed."""
    num_workers: int
    now: Callable[[], float] = time.monotonic
    _before: int = field(init=False)
    _tokens: int = field(init=False, default=0)
    _started: float = field(init=False)
    _told: float = field(init=False)

    def __post_init__(self) -> None:
        self._before = self.done
        self._started = self._told = self.now()

    def add(self, step: list[Batch]) -> bool:
        """Count a step; say whether a line is due."""
        self.done += 1
        self._tokens += sum(batch.num_tokens for batch in step)
        is_due = self.now() - self._told >= INTERVAL_S
        if is_due:
            self._told = self.now()
        return is_due

    def line(self, loss: float, *, later_steps: int) -> str:
        """Say how far the epoch is, and when it and the steps of later ones will be done."""
        passed_s = self.now() - self._started
        step_s = passed_s / (self.done - self._before)
        left_s = round(step_s * (self.num_steps - self.done + later_steps))
        return (
            f"{self.done / self.num_steps:4.0%}  loss {loss:.3f}"
            f"  {self._tokens * self.num_workers / passed_s:,.0f} tokens/s"
            f"  {left_s // 60}:{left_s % 60:02d} left"
        )

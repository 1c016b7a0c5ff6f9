"""How long a training still takes, from the steps that it took."""

import time
from collections.abc import Callable

from rubert_ood.progress import INTERVAL_S, time_left


class Pace:
    """Measures the steps of this process; those before a resume count for no speed."""

    def __init__(
        self, num_steps: int, *, done: int = 0, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with so many of all steps done already."""
        self._num_steps, self._done_before, self._now = num_steps, done, now
        self._started = self._told = now()

    def is_due(self) -> bool:
        """Say whether it is time for a line."""
        is_due = self._now() - self._told >= INTERVAL_S
        if is_due:
            self._told = self._now()
        return is_due

    def left(self, done: int) -> str:
        """Say after so many of all steps how long the others take, as `3:20 left`.

        It is the most: a training without progress on valid ends early.
        """
        taken = done - self._done_before
        passed_s = self._now() - self._started
        return time_left(passed_s * (self._num_steps - done) / max(taken, 1))

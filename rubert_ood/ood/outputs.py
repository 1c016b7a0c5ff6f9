"""What one forward pass says of some ads. Shapes: N ads, C classes, H hidden."""

from dataclasses import dataclass, replace

import numpy as np

SAMPLE_SEED = 0


@dataclass(frozen=True)
class Outputs:
    """What the network says of N ads."""

    logits_NC: np.ndarray
    """float32 (N, C)."""
    cls_NH: np.ndarray
    """float32 (N, H), CLS of the last layer."""
    labels_N: np.ndarray
    """int64 (N,); -1 where no label is known."""

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, rows: np.ndarray) -> "Outputs":
        """Return some rows, in the order of their numbers."""
        return Outputs(self.logits_NC[rows], self.cls_NH[rows], self.labels_N[rows])

    def plus(self, added_NC: np.ndarray) -> "Outputs":
        """Return the same with something added to the logits, float32 (N, C)."""
        return replace(self, logits_NC=self.logits_NC + added_NC)


def sample_rows(num_rows: int, max_rows: int) -> np.ndarray:
    """Choose row numbers, ascending: all, or a repeatable random sample of max_rows."""
    if num_rows <= max_rows:
        return np.arange(num_rows)
    return np.sort(
        np.random.default_rng(SAMPLE_SEED).choice(num_rows, max_rows, replace=False)
    )

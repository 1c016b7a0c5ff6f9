"""What one forward pass says of some ads. Shapes: N ads, C classes, H hidden."""

from collections.abc import Mapping, Sequence
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
    tokens_NH: np.ndarray | None = None
    """float32 (N, H), mean of the vectors of all tokens that enter the last layer; None where an
    older version computed the rest."""

    @classmethod
    def unlabelled(
        cls, logits_NC: np.ndarray, cls_NH: np.ndarray, tokens_NH: np.ndarray
    ) -> "Outputs":
        """Return the outputs of ads whose labels are not known."""
        return cls(logits_NC, cls_NH, np.full(len(logits_NC), -1), tokens_NH)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Outputs":
        """Return what `arrays` was made of."""
        tokens_NH = arrays.get("tokens")
        return cls(arrays["logits"], arrays["cls"], arrays["labels"], tokens_NH)

    @classmethod
    def concat(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """Join the rows of at least one part; without token means if the first has none."""
        joined = {}
        for name in parts[0].arrays():
            joined[name] = np.concatenate([part.arrays()[name] for part in parts])
        return cls.of(joined)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is there, by name: logits, cls, labels, tokens."""
        found = {"logits": self.logits_NC, "cls": self.cls_NH, "labels": self.labels_N}
        return found if self.tokens_NH is None else found | {"tokens": self.tokens_NH}

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, rows: np.ndarray) -> "Outputs":
        """Return some rows, in the order of their numbers."""
        return Outputs.of({name: array[rows] for name, array in self.arrays().items()})

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

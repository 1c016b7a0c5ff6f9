"""What one forward pass says of some ads. Shapes: N ads, C classes, H hidden."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outputs:
    logits_NC: np.ndarray
    """float32 (N, C)."""
    cls_NH: np.ndarray
    """float32 (N, H), CLS of the last layer."""
    labels_N: np.ndarray
    """int64 (N,); -1 where no label is known."""

    def __len__(self) -> int:
        return len(self.labels_N)

"""What training minimises: cross-entropy, weighted by class where it is asked for.

Shapes: N ads, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from rubert_ood.settings import OptimiserSettings

POWERS = {"root": 0.5, "balanced": 1.0}


@dataclass(frozen=True)
class Loss:
    """The loss of a step's ads, added up; plain cross-entropy unless told otherwise."""

    weights_C: torch.Tensor | None = None
    """Their mean over the ads of train is 1."""

    @classmethod
    def of(cls, settings: OptimiserSettings, counts_C: Sequence[int]) -> "Loss":
        """Make the loss of a training with so many ads of each class."""
        if settings.class_weights == "none":
            return cls()
        weights_C = class_weights(counts_C, POWERS[settings.class_weights])
        return cls(torch.from_numpy(weights_C).float())

    def __call__(self, logits_NC: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
        """Add up the losses of the ads, each by the weight of its class."""
        if self.weights_C is None:
            return cross_entropy(logits_NC, labels_N, reduction="sum")
        losses_N = cross_entropy(logits_NC, labels_N, reduction="none")
        return losses_N @ self.weights_C.to(losses_N)[labels_N]


def class_weights(counts_C: Sequence[int], power: float) -> np.ndarray:
    """Return a power of the inverse frequencies, float64 (C,); the mean over the ads is 1."""
    counts = np.asarray(counts_C, dtype=np.float64)
    weights_C = counts**-power
    return weights_C * counts.sum() / (weights_C @ counts)

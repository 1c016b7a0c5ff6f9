"""The training ads that an ad is nearest to, by the distance that the OOD rule uses.

Shapes: N ads of the reference sample, H hidden.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rubert_ood.bundle import Bundle
from rubert_ood.bundle.bundle import load_reference
from rubert_ood.ood.reference import Reference

NUM_NEAREST = 5


@dataclass(frozen=True)
class Neighbour:
    """An ad of the reference sample. A bundle keeps no texts, so it has a number and a label."""

    row: int
    """Its row in the sample, counted from 0."""
    label: str
    d2: float
    """Squared Mahalanobis distance between both ads."""


class NearestAds:
    """The reference sample of a bundle; it is read when it is first asked for something."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    @cached_property
    def _reference(self) -> Reference | None:
        return load_reference(self._bundle)

    @cached_property
    def _whitened_NH(self) -> NDArray[np.float64]:
        """CLS times L of P = L L': between two of its rows the squared distance is Euclidean."""
        if self._reference is None:
            hidden = self._bundle.fitted.statistics.means_CH.shape[1]
            return np.empty((0, hidden))
        cls_NH = self._reference.train.cls_NH.astype(np.float64)
        return np.asarray(cls_NH @ self._bundle.fitted.statistics.factor_HH)

    @property
    def num_ads(self) -> int:
        """Training ads in the sample; 0 if the bundle was written without one."""
        return len(self._reference.train) if self._reference else 0

    def of(self, cls_H: NDArray[np.floating]) -> list[Neighbour]:
        """Return the nearest training ads of a CLS vector, nearest first."""
        if self._reference is None:
            return []
        factor_HH = self._bundle.fitted.statistics.factor_HH
        difference_NH = self._whitened_NH - cls_H.astype(np.float64) @ factor_HH
        d2_N = np.einsum("nh,nh->n", difference_NH, difference_NH)
        rows = np.argsort(d2_N, kind="stable")[:NUM_NEAREST]
        return [self._neighbour(int(row), float(d2_N[row])) for row in rows]

    def _neighbour(self, row: int, d2: float) -> Neighbour:
        assert self._reference is not None
        number = int(self._reference.train.labels_N[row])
        label = self._bundle.fitted.labels[number] if number >= 0 else "not known"
        return Neighbour(row, label, d2)

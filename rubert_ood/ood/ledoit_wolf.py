"""Class means and one shared LedoitWolf precision matrix, from sums over batches.

The rows are never held together. Two passes over the same rows: `ClassSums` give the means,
`ResidualSums` around these means give shrinkage and precision matrix. Sums of batches add up, in
any order, and take O(C*H + H^2) memory. Source: Ledoit and Wolf 2004, "A well-conditioned estimator
for large-dimensional covariance matrices", section 3.3. Shapes: n ads of a batch, N ads, C classes,
H hidden. Everything is computed in float64.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from rubert_ood.errors import SchemaError
from rubert_ood.ood.mahalanobis import Floats, MahalanobisStatistics, finite_features
from rubert_ood.plain import count_of

MIN_SHRINKAGE = 1e-10
"""Keeps the covariance invertible where features depend on each other and rows are so many that
nothing is shrunk."""


@dataclass(frozen=True, eq=False)
class ClassSums:
    """The first pass: rows and sum of the features, by class."""

    counts_C: NDArray[np.int64]
    sums_CH: Floats

    @classmethod
    def of(
        cls, cls_nH: ArrayLike, labels_n: ArrayLike, *, num_classes: int
    ) -> "ClassSums":
        """Sum up one batch.

        Raises SchemaError on features that are not finite and on labels outside the classes.
        """
        x_nH, labels = (
            finite_features(np.asarray(cls_nH), error=SchemaError),
            np.asarray(labels_n),
        )
        _check_labels(labels, len(x_nH), num_classes)
        rows = np.arange(len(labels))
        members_Cn = csr_array(
            (np.ones(len(rows)), (labels, rows)), shape=(num_classes, len(rows))
        )
        return cls(
            np.bincount(labels, minlength=num_classes), np.asarray(members_Cn @ x_nH)
        )

    def __add__(self, other: "ClassSums") -> "ClassSums":
        return ClassSums(self.counts_C + other.counts_C, self.sums_CH + other.sums_CH)

    def means(self) -> Floats:
        """Return the class means (C, H). Raises SchemaError on a class without a row."""
        empty = np.flatnonzero(self.counts_C == 0)
        if not self.counts_C.any():
            raise SchemaError(
                "there are no training rows to fit the Mahalanobis"
                " statistics on. Add training ads"
            )
        if len(empty):
            raise SchemaError(
                f"class number {empty[0]} has no training rows"
                f" ({count_of(len(empty), 'class', 'classes')} in all). Add"
                " ads of it, or drop the label"
            )
        return np.asarray(self.sums_CH / self.counts_C[:, None])


@dataclass(frozen=True, eq=False)
class ResidualSums:
    """The second pass: moments of r = x - mean of the own class.

    A class of one row adds a residual of zero.
    """

    num_rows: int
    scatter_HH: Floats
    """Sum of r r'."""
    fourth: float
    """Sum of |r|^4."""

    @classmethod
    def of(
        cls, cls_nH: ArrayLike, labels_n: ArrayLike, *, means_CH: Floats
    ) -> "ResidualSums":
        """Sum up one batch, with the means of all."""
        r_nH = np.asarray(cls_nH, dtype=np.float64) - means_CH[np.asarray(labels_n)]
        squares_n = np.einsum("nh,nh->n", r_nH, r_nH)
        return cls(len(r_nH), r_nH.T @ r_nH, float(squares_n @ squares_n))

    def __add__(self, other: "ResidualSums") -> "ResidualSums":
        return ResidualSums(
            self.num_rows + other.num_rows,
            self.scatter_HH + other.scatter_HH,
            self.fourth + other.fourth,
        )

    def shrinkage(self) -> float:
        """Return the weight of the scaled identity in the covariance, in [0, 1]: sklearn's."""
        hidden = len(self.scatter_HH)
        moment_HH = self.scatter_HH / self.num_rows
        square = float(np.vdot(moment_HH, moment_HH))
        beta = (self.fourth / self.num_rows - square) / (hidden * self.num_rows)
        delta = square / hidden - (np.trace(moment_HH) / hidden) ** 2
        return float(np.clip(beta / delta, 0.0, 1.0)) if delta > 0 else 0.0


def statistics_of(means_CH: Floats, sums: ResidualSums) -> MahalanobisStatistics:
    """Return the statistics, scaled so that the mean squared distance to the own class mean is H.

    Features may depend on each other: shrinkage is relative to their variance, so their unit does
    not matter. Raises SchemaError when every ad equals its class mean.
    """
    hidden = means_CH.shape[1]
    moment_HH = sums.scatter_HH / sums.num_rows
    variance = np.trace(moment_HH) / hidden
    if (
        variance <= (np.finfo(np.float64).eps * np.abs(means_CH).max()) ** 2
    ):  # nothing but rounding
        raise SchemaError(
            "no covariance can be fitted, since each training ad equals its"
            " class mean. Add more different ads per class"
        )
    shrinkage = sums.shrinkage()
    weight = max(shrinkage, MIN_SHRINKAGE)
    values_H, vectors_HH = np.linalg.eigh(
        (1 - weight) * moment_HH + weight * variance * np.eye(hidden)
    )
    precision_HH = (vectors_HH / values_H) @ vectors_HH.T
    precision_HH = (precision_HH + precision_HH.T) / 2
    # mean(r' P r) is the trace of P times the second moment
    mean_d2 = np.vdot(precision_HH, moment_HH)
    return MahalanobisStatistics(means_CH, precision_HH * (hidden / mean_d2), shrinkage)


def fit_mahalanobis(
    cls_NH: ArrayLike, labels_N: ArrayLike, num_classes: int
) -> MahalanobisStatistics:
    """Fit on rows that lie in memory: both passes over one batch.

    Raises SchemaError without rows, on a class without a row, a label outside 0..num_classes-1,
    non-finite features, or a split where every ad equals its class mean.
    """
    means_CH = ClassSums.of(cls_NH, labels_N, num_classes=num_classes).means()
    return statistics_of(means_CH, ResidualSums.of(cls_NH, labels_N, means_CH=means_CH))


def _check_labels(labels: NDArray[np.integer], num_rows: int, num_classes: int) -> None:
    if len(labels) != num_rows:
        raise SchemaError(
            f"features have {num_rows} rows, but there are {len(labels)}"
            " labels. Take both from the same split"
        )
    if num_rows and (labels.min() < 0 or labels.max() >= num_classes):
        raise SchemaError(
            f"labels go from {labels.min()} to {labels.max()}, but must lie"
            f" in 0 to {num_classes - 1}. Number the classes from 0"
        )

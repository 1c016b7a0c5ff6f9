"""Mahalanobis distance to the nearest class mean, with one precision matrix for all classes.

Source: Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples", eq. 1 and 2; the shared
covariance is estimated as in Ledoit and Wolf 2004.

Shapes: N ads, C classes, H hidden.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.covariance import LedoitWolf

from rubert_ood.errors import BundleError, SchemaError

CHUNK_ROWS = 8192


@dataclass(frozen=True)
class MahalanobisStatistics:
    means_CH: np.ndarray
    """float64 (C, H)."""
    precision_HH: np.ndarray
    """float64 (H, H), symmetric positive definite."""
    shrinkage: float
    """Of LedoitWolf, in [0, 1]."""

    def __post_init__(self) -> None:
        hidden = self.means_CH.shape[1]
        if self.precision_HH.shape != (hidden, hidden):
            raise BundleError(f"precision is {self.precision_HH.shape}, the means have H = {hidden}")
        if not (np.isfinite(self.means_CH).all() and np.isfinite(self.precision_HH).all()):
            raise BundleError("the Mahalanobis statistics hold values that are not finite")

    @cached_property
    def _factor_HH(self) -> np.ndarray:
        """L with P = L L': the distance is Euclidean after x -> x L."""
        try:
            return np.linalg.cholesky(self.precision_HH)
        except np.linalg.LinAlgError as error:
            raise BundleError("the precision matrix is not positive definite") from error

    @cached_property
    def _origin_H(self) -> np.ndarray:
        return self.means_CH.mean(axis=0)

    @cached_property
    def _whitened_means_CH(self) -> np.ndarray:
        return (self.means_CH - self._origin_H) @ self._factor_HH

    def distance(self, cls_NH: np.ndarray, chunk_rows: int = CHUNK_ROWS) -> tuple[np.ndarray, np.ndarray]:
        """Return d2 to the nearest class, float64 (N,), and that class, int64 (N,).

        The nearest class comes from expanded squares (one GEMM); its distance is then computed from the difference
        itself, which loses no digits. Never more than chunk_rows x max(C, H) values at a time.
        """
        cls_NH = np.asarray(cls_NH)
        if cls_NH.ndim != 2 or cls_NH.shape[1] != self.means_CH.shape[1]:
            raise BundleError(f"features are {cls_NH.shape}, the statistics have H = {self.means_CH.shape[1]}")
        d2_N, nearest_N = np.empty(len(cls_NH)), np.empty(len(cls_NH), np.int64)
        means_CH = self._whitened_means_CH
        norms_C = np.einsum("ch,ch->c", means_CH, means_CH)
        for start in range(0, len(cls_NH), chunk_rows):
            rows = slice(start, start + chunk_rows)
            z_NH = (cls_NH[rows].astype(np.float64) - self._origin_H) @ self._factor_HH
            nearest_N[rows] = (norms_C - 2.0 * (z_NH @ means_CH.T)).argmin(axis=1)
            z_NH -= means_CH[nearest_N[rows]]
            d2_N[rows] = np.einsum("nh,nh->n", z_NH, z_NH)
        return d2_N, nearest_N


def fit_mahalanobis(cls_NH: np.ndarray, labels_N: np.ndarray, num_classes: int) -> MahalanobisStatistics:
    """Fit class means and one LedoitWolf precision, scaled so that the mean squared distance of train is H."""
    x_NH = np.asarray(cls_NH, np.float64)
    if not np.isfinite(x_NH).all():
        raise SchemaError("some training features are not finite: the training diverged; lower the learning rate")
    counts_C = np.bincount(labels_N, minlength=num_classes)
    if counts_C.min() == 0:
        raise SchemaError(f"class number {int(counts_C.argmin())} has no training row")
    means_CH = np.zeros((num_classes, x_NH.shape[1]))
    np.add.at(means_CH, labels_N, x_NH)
    means_CH /= counts_C[:, None]
    residuals_NH = x_NH - means_CH[labels_N]
    estimate = LedoitWolf().fit(residuals_NH)
    precision_HH = estimate.precision_
    mean_d2 = np.einsum("nh,nh->", residuals_NH @ precision_HH, residuals_NH) / len(residuals_NH)
    precision_HH = precision_HH * (x_NH.shape[1] / mean_d2)
    return MahalanobisStatistics(means_CH, (precision_HH + precision_HH.T) / 2, float(estimate.shrinkage_))

"""Mahalanobis distance of a CLS vector to the nearest class.

Large means unlike every class of the training set. Source: Lee et al. 2018, "A Simple Unified
Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", equations 1 and 2.
Means and precision matrix are fitted in ledoit_wolf.py. Shapes: N ads, n ads of one chunk, C
classes, H hidden. Everything is computed in float64.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rubert_ood.errors import BundleError, RubertOodError
from rubert_ood.ood.blas import one_blas_thread

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SYMMETRY_TOLERANCE = 1e-9  # relative to the largest entry


@dataclass(frozen=True, eq=False)
class MahalanobisStatistics:
    """Class means, one shared precision matrix, and the shrinkage that LedoitWolf chose.

    Raises BundleError unless the arrays are finite, fit each other, and the precision matrix is
    symmetric positive-definite.
    """

    means_CH: Floats
    precision_HH: Floats
    shrinkage: float

    def __post_init__(self) -> None:
        for name in ("means_CH", "precision_HH"):
            array = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, array)
            if array.ndim != 2 or array.size == 0:
                raise BundleError(
                    f"Mahalanobis {name} has the shape {array.shape}, where"
                    " a non-empty matrix is expected"
                )
            if not np.isfinite(array).all():
                raise BundleError(f"Mahalanobis {name} holds NaN or infinite numbers")
        hidden = self.means_CH.shape[1]
        if self.precision_HH.shape != (hidden, hidden):
            raise BundleError(
                "Mahalanobis precision_HH has the shape"
                f" {self.precision_HH.shape}, but means_CH has H = {hidden}"
            )
        asymmetry = np.abs(self.precision_HH - self.precision_HH.T).max()
        if asymmetry > SYMMETRY_TOLERANCE * np.abs(self.precision_HH).max():
            raise BundleError(
                "the Mahalanobis precision matrix is not symmetric (off by"
                f" {asymmetry:.3g})"
            )
        try:
            _ = self.factor_HH
        except np.linalg.LinAlgError:
            raise BundleError(
                "the Mahalanobis precision matrix is not positive definite"
            ) from None

    def distance(
        self, cls_NH: ArrayLike, chunk_rows: int = 2048
    ) -> tuple[Floats, Integers]:
        """Return the squared distance to the nearest class, and that class: float64, int64 (N,).

        Memory beyond the input: a few (chunk_rows, H) arrays. Among classes at the same distance
        the lowest index wins. Raises BundleError if H differs from the statistics' or a feature is
        not finite.
        """
        cls = np.asarray(cls_NH)
        hidden = self.means_CH.shape[1]
        if cls.ndim != 2 or cls.shape[1] != hidden:
            raise BundleError(
                f"features have the shape {cls.shape}, but the statistics"
                f" were fitted on H = {hidden}. Use the statistics of this"
                " model"
            )
        d2_N = np.empty(len(cls), dtype=np.float64)
        nearest_N = np.empty(len(cls), dtype=np.int64)
        for start in range(0, len(cls), chunk_rows):
            rows = slice(start, start + chunk_rows)
            d2_N[rows], nearest_N[rows] = self._chunk_distance(
                finite_features(cls[rows], start)
            )
        return d2_N, nearest_N

    def own_class_distance(self, cls_NH: ArrayLike, labels_N: Integers) -> Floats:
        """Return the squared distance of each ad to the mean of its own class, float64 (N,)."""
        return self._exact(finite_features(np.asarray(cls_NH)), labels_N)

    @cached_property
    def factor_HH(self) -> Floats:
        """L of P = L L': whitening, |(x - mu) L|^2 = (x - mu)' P (x - mu)."""
        symmetric_HH = (self.precision_HH + self.precision_HH.T) / 2
        with one_blas_thread():
            return np.asarray(np.linalg.cholesky(symmetric_HH), dtype=np.float64)

    @cached_property
    def centre_H(self) -> Floats:
        """The mean of the class means."""
        return np.asarray(self.means_CH.mean(axis=0))

    @cached_property
    def directions_CH(self) -> Floats:
        """P mu of each centred mean: what the search multiplies x with."""
        return np.asarray((self.means_CH - self.centre_H) @ self.precision_HH)

    @cached_property
    def offsets_C(self) -> Floats:
        """(mu' P mu) / 2 of each centred mean."""
        return np.asarray(
            ((self.means_CH - self.centre_H) * self.directions_CH).sum(axis=1) / 2
        )

    @cached_property
    def search_error(self) -> tuple[float, float]:
        """Bound the rounding error of the search: of a centred |x| it is factor * (|x| + longest).

        longest is that of the centred means.
        """
        longest = np.linalg.norm(self.means_CH - self.centre_H, axis=1).max()
        unit = 4 * self.means_CH.shape[1] * np.finfo(np.float64).eps
        norm = float(np.linalg.norm(self.precision_HH))
        return unit * norm * float(longest), float(longest)

    def _chunk_distance(self, x_nH: Floats) -> tuple[Floats, Integers]:
        # Half of d2 is (x'Px)/2 - x'P mu + (mu'P mu)/2 on centred vectors. Only the last two terms
        # depend on the
        # class, so the search for the nearest costs n*H*C, and the exact distance is taken for the
        # winner alone.
        centred_nH = x_nH - self.centre_H
        halves_nC = self.offsets_C - centred_nH @ self.directions_CH.T
        nearest_n = np.argmin(halves_nC, axis=1)
        d2_n = self._exact(x_nH, nearest_n)

        # The expanded square cancels: classes within its rounding error of the best are compared
        # exactly.
        factor, longest = self.search_error
        slack_n = factor * (np.linalg.norm(centred_nH, axis=1) + longest)
        near_nC = halves_nC <= (halves_nC.min(axis=1) + slack_n)[:, None]
        near_nC[np.arange(len(x_nH)), nearest_n] = False
        for rival in np.flatnonzero(near_nC.any(axis=0)):
            rows = np.flatnonzero(near_nC[:, rival])
            rival_d2 = self._exact(x_nH[rows], np.full(len(rows), rival))
            wins = (rival_d2 < d2_n[rows]) | (
                (rival_d2 == d2_n[rows]) & (rival < nearest_n[rows])
            )
            d2_n[rows[wins]] = rival_d2[wins]
            nearest_n[rows[wins]] = rival
        return d2_n, nearest_n

    def _exact(self, x_nH: Floats, classes_n: Integers) -> Floats:
        whitened_nH = (x_nH - self.means_CH[classes_n]) @ self.factor_HH
        return np.einsum("nh,nh->n", whitened_nH, whitened_nH)


def finite_features(
    cls_nH: NDArray[np.floating],
    first_row: int = 0,
    error: type[RubertOodError] = BundleError,
) -> Floats:
    """Return the features as float64; a row that is not finite raises `error`.

    Rows are counted from first_row.
    """
    x_nH = cls_nH.astype(np.float64)
    finite_n = np.isfinite(x_nH).all(axis=1)
    if not finite_n.all():
        row = first_row + int(np.argmin(finite_n))
        raise error(
            f"the CLS features of row {row} are not finite, so the"
            " checkpoint is damaged or diverged. Train again"
        )
    return x_nH

"""Shares of the classes among ads without labels, from the best classes of each ad.

Counting best classes keeps the shares of the training in part: an unsure ad goes to the class that
was frequent there. Source: Saerens, Latinne and Decaestecker 2002, "Adjusting the outputs of a
classifier to new a priori probabilities", equations 2.8 and 2.9. Measured beside BBSE (Lipton et
al. 2018) in benchmarks/nights.py. Shapes: N texts, C classes, k best classes, R samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
MAX_STEPS = 1_000
TOLERANCE = 3e-6
"""Change of a share in one step from which on nothing is left to find."""
LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Probabilities of all classes, as far as the best ones and calibration ads tell.

    The matrix is known + left @ rest_CC, and never made.
    """

    known_NC: csr_array
    """Of the best classes, less what the other summand says of them."""
    left_NC: csr_array
    """What the best classes of a text leave, in the column of its best class."""
    rest_CC: Floats
    """Where that goes: the mean probabilities of calibration ads of each best class."""

    @classmethod
    def of(
        cls, classes_Nk: NDArray[np.int64], p_Nk: Floats, calibration_nC: Floats
    ) -> "Posteriors":
        """Lay them out; calibration_nC: the probabilities of calibration ads."""
        rest_CC = _mean_by_best(calibration_nC)
        num_classes, best_N = len(rest_CC), classes_Nk[:, 0]
        of_best_Nk = rest_CC[best_N[:, None], classes_Nk]
        others_N = np.maximum(1 - of_best_Nk.sum(axis=1), LEAST)
        left_N = np.maximum(1 - p_Nk.sum(axis=1), 0) / others_N
        known_Nk = p_Nk - left_N[:, None] * of_best_Nk
        return cls(
            _sparse(classes_Nk, known_Nk, num_classes),
            _sparse(best_N[:, None], left_N[:, None], num_classes),
            rest_CC,
        )


def corrected_shares(
    posteriors: Posteriors, source: ArrayLike, weight: ArrayLike
) -> Floats:
    """Return the shares that make the probabilities most likely, (C, R), by EM.

    source (C, R): shares for which the probabilities are calibrated. weight (N, R): how often each
    text stands in each sample. Only the shares may differ: a class must look as it did.
    """
    source_CR = _shared_out(np.maximum(source, LEAST))
    weight_NR = _shared_out(weight)
    known_NC, left_NC = posteriors.known_NC, posteriors.left_NC
    known_CN, left_CN = known_NC.T.tocsr(), left_NC.T.tocsr()
    rest_CC = posteriors.rest_CC
    share_CR = source_CR
    for _ in range(MAX_STEPS):
        times_CR = share_CR / source_CR
        likely_NR = known_NC @ times_CR + left_NC @ (rest_CC @ times_CR)
        per_NR = weight_NR / np.maximum(likely_NR, LEAST)
        newer_CR = times_CR * (known_CN @ per_NR + rest_CC.T @ (left_CN @ per_NR))
        newer_CR = _shared_out(np.maximum(newer_CR, 0))  # rounding
        moved = float(np.abs(newer_CR - share_CR).max())
        share_CR = newer_CR
        if moved < TOLERANCE:
            break
    return np.asarray(share_CR)


def _shared_out(values: ArrayLike) -> Floats:
    """Return columns that sum to 1."""
    values_XR = np.asarray(values, np.float64)
    return np.asarray(values_XR / values_XR.sum(axis=0))


def _mean_by_best(p_nC: Floats) -> Floats:
    """Return the mean probabilities by best class; one ad of the mean of all is added to each."""
    num_classes = p_nC.shape[1]
    best_n = p_nC.argmax(axis=1)
    sum_CC = np.zeros((num_classes, num_classes))
    np.add.at(sum_CC, best_n, p_nC)
    count_C = np.bincount(best_n, minlength=num_classes)
    return np.asarray((sum_CC + p_nC.mean(axis=0)) / (count_C[:, None] + 1))


def _sparse(columns_Nk: NDArray[np.int64], values_Nk: Floats, num: int) -> csr_array:
    num_texts, k = columns_Nk.shape
    ends = np.arange(0, num_texts * k + 1, k)
    return csr_array((values_Nk.ravel(), columns_Nk.ravel(), ends), (num_texts, num))

"""Conformal p-values, and one of several detectors together.

Larger scores mean more out of domain, so that smaller p-values do. Shapes: N ads, n calibration
ads, D detectors. Everything is computed in float64.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def conformal_p(scores_N: Floats, calibration_n: Floats) -> Floats:
    """Return (1 + #{calibration scores >= score}) / (n + 1); calibration_n ascending.

    Source: Laxhammar and Falkman 2010, conformal anomaly detection; Bates et al. 2023, equation 2.
    """
    num_calibration = len(calibration_n)
    num_at_least_N = num_calibration - np.searchsorted(
        calibration_n, scores_N, side="left"
    )
    return np.asarray((1.0 + num_at_least_N) / (num_calibration + 1.0))


def combine(p_values: Sequence[Floats]) -> Floats:
    """Return sum 1 / p of each ad, which is large where one of the p-values is small: float64 (N,).

    D divided by it is their harmonic mean. Source: Wilson 2019, "The harmonic mean p-value for
    combining dependent tests", equation 1. Its law is not used, as it holds for many p-values
    alone: see `combine_among`.
    """
    return np.asarray(np.sum(1 / np.asarray(p_values), axis=0), dtype=np.float64)


def combine_among(scores_Dn: Sequence[Floats]) -> Floats:
    """Return the statistic of the calibration ads themselves, in their order: float64 (n,).

    Ranked among these, the statistic of a new ad has a conformal p of its own, which is valid
    whatever the dependence of the detectors: P(p <= alpha) <= alpha. Proof: with the new ad in the
    ranking, all n + 1 ads are treated alike, and the p-value is valid (Bates et al. 2023,
    proposition 1). It is not there when the p-values of calibration ad i are taken, so they lack
    the 1 that it may add to a count. Taken as #{scores >= own} / (n + 1), they are at most what
    they would be with it; so the statistic of i is at least that, and p of the new ad as well.
    """
    p_values = []
    for scores_n in scores_Dn:
        ordered_n = np.sort(scores_n)
        one = 1 / (len(ordered_n) + 1.0)  # that conformal_p adds for a new ad
        p_values.append(conformal_p(scores_n, ordered_n) - one)
    return combine(p_values)


def combine_calibration(scores_Dn: Sequence[Floats]) -> Floats:
    """Return `combine_among` ascending, as p-values of new ads need it: float64 (n,)."""
    return np.sort(combine_among(scores_Dn))

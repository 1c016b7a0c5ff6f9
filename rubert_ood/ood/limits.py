"""Where far begins, in d2 or in p: of all ads, or of those of each predicted class."""

import numpy as np
from numpy.typing import NDArray

from rubert_ood.ood.class_limits import conformal_allowed
from rubert_ood.ood.decision import Thresholds
from rubert_ood.settings import DecisionSettings


def decides_by_d2(settings: DecisionSettings) -> bool:
    """Say whether a limit of p is one of d2 as well: not where another detector decides."""
    return settings.rule != "conformal" or settings.detector == "mahalanobis"


def d2_limits(settings: DecisionSettings, thresholds: Thresholds) -> NDArray[np.float64]:
    """Return every d2 above which an ad may be far: one for all, or those of the classes.

    None of them where another detector than Mahalanobis decides: `p_limits` has those.
    """
    if not decides_by_d2(settings):
        return np.array([])
    if thresholds.by_class is None or settings.rule != "conformal":
        return np.array([d2_limit(settings, thresholds)])
    alphas = np.unique(thresholds.by_class.alpha_C).tolist()
    return np.array([d2_at(alpha, thresholds) for alpha in alphas])


def p_limits(settings: DecisionSettings, thresholds: Thresholds) -> NDArray[np.float64]:
    """Return every p of another detector than Mahalanobis at which an ad may be far.

    One for all, or those of the classes; none where d2 decides.
    """
    if decides_by_d2(settings):
        return np.array([])
    if thresholds.by_class is None:
        return np.array([settings.conformal_alpha])
    alphas = np.unique(thresholds.by_class.alpha_C)
    return alphas[alphas > 0]


def d2_at(p: float, thresholds: Thresholds) -> float:
    """Return the d2 above which the conformal p is at most p, or the largest there is."""
    # far if at most this many calibration rows are as far
    d2 = thresholds.calibration_d2
    allowed = conformal_allowed(len(d2), p)
    return float(d2[len(d2) - 1 - min(max(allowed, 0), len(d2) - 1)])


def d2_limit(settings: DecisionSettings, thresholds: Thresholds) -> float | None:
    """Return the d2 above which an ad is far by the rule of the settings.

    None where another detector than Mahalanobis decides. Where classes have limits of their own,
    `d2_limits` has them.
    """
    if not decides_by_d2(settings):
        return None
    if settings.rule == "conformal":
        return d2_at(settings.conformal_alpha, thresholds)
    return max(
        settings.alpha * thresholds.threshold,
        thresholds.mu + settings.z_thr * thresholds.sigma,
    )

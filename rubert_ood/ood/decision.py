"""From logits and CLS features to the decision: label, confidence, top-k, OOD flag. A pure function.

Shapes: N ads, C classes, H hidden, K = min(top_k, C).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from rubert_ood.errors import SchemaError
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.settings import DecisionSettings

OTHER = "Other"
SIGMA_FLOOR = 1e-9


@dataclass(frozen=True)
class Thresholds:
    threshold: float
    """Quantile of d2 on valid."""
    mu: float
    sigma: float
    """Mean and standard deviation (ddof = 1) of d2 on valid."""
    calibration_d2: np.ndarray
    """float64, sorted: every d2 of valid, for the conformal p-value."""


@dataclass(frozen=True)
class Decisions:
    label: np.ndarray
    """object (N,): a class, or "Other"."""
    predicted_N: np.ndarray
    """int64 (N,): the most probable class, whatever the label."""
    confidence_N: np.ndarray
    """float64 (N,): its probability."""
    topk_labels: np.ndarray
    """object (N, K), most probable first; of equals the one with the smaller class number first."""
    topk_scores: np.ndarray
    """float64 (N, K)."""
    is_ood: np.ndarray
    """bool (N,)."""
    ood_distance_N: np.ndarray
    """float64 (N,): d2 to the nearest class mean."""
    ood_z_N: np.ndarray
    """float64 (N,): d2 in standard deviations above the mean of valid."""
    ood_p_N: np.ndarray
    """float64 (N,): conformal p-value; small means unlike every valid ad."""


def fit_thresholds(d2_N: np.ndarray, *, quantile: float = 0.995) -> Thresholds:
    """Take quantile, mean and standard deviation of d2 on valid."""
    d2_N = np.sort(np.asarray(d2_N, np.float64))
    if len(d2_N) < 2:
        raise SchemaError(f"thresholds need at least 2 valid rows, found {len(d2_N)}")
    return Thresholds(float(np.quantile(d2_N, quantile)), float(d2_N.mean()), float(d2_N.std(ddof=1)), d2_N)


def conformal_p(d2_N: np.ndarray, calibration_d2: np.ndarray) -> np.ndarray:
    """Return (1 + #{calibration d2 >= d2}) / (n + 1). Vovk et al. 2005; Bates et al. 2023, eq. 2."""
    at_least_N = len(calibration_d2) - np.searchsorted(calibration_d2, d2_N, side="left")
    return (1.0 + at_least_N) / (len(calibration_d2) + 1.0)


def decide(
    logits_NC: np.ndarray,
    cls_NH: np.ndarray,
    *,
    labels: Sequence[str],
    temperature: float,
    statistics: MahalanobisStatistics,
    thresholds: Thresholds,
    settings: DecisionSettings,
) -> Decisions:
    """Decide each ad.

    ood = d2 > alpha * threshold and z > z_thr and confidence < ood_conf_gate; the label is the most probable class
    unless the ad is OOD or its confidence is below tau_other.
    """
    p_NC = softmax(np.asarray(logits_NC, np.float64) / temperature, axis=1)
    order_NK = np.argsort(-p_NC, axis=1, kind="stable")[:, : settings.top_k]
    topk_scores = np.take_along_axis(p_NC, order_NK, axis=1)
    confidence_N = topk_scores[:, 0]
    d2_N, _ = statistics.distance(cls_NH)
    z_N = (d2_N - thresholds.mu) / (thresholds.sigma + SIGMA_FLOOR)
    is_ood = (
        (d2_N > settings.alpha * thresholds.threshold)
        & (z_N > settings.z_thr)
        & (confidence_N < settings.ood_conf_gate)
    )
    names = np.array(labels, dtype=object)
    trusted = ~is_ood & (confidence_N >= settings.tau_other)
    return Decisions(
        label=np.where(trusted, names[order_NK[:, 0]], OTHER),
        predicted_N=order_NK[:, 0].astype(np.int64),
        confidence_N=confidence_N,
        topk_labels=names[order_NK],
        topk_scores=topk_scores,
        is_ood=is_ood,
        ood_distance_N=d2_N,
        ood_z_N=z_N,
        ood_p_N=conformal_p(d2_N, thresholds.calibration_d2),
    )

"""Curves and histograms of the evaluation report, as lists of numbers. Shapes: N ads, C classes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

CURVE_POINTS = 200
HISTOGRAM_BINS = 60

Points = list[list[float]]
"""[[x, y], ...]"""


@dataclass(frozen=True)
class ClassCurves:
    """One class against all others, over every threshold."""

    pr: Points
    """Precision against recall."""
    roc: Points
    """True against false positive rate."""


@dataclass(frozen=True)
class RiskCoverage:
    """What it costs to keep more ads."""

    curve: Points
    """Error rate against the share of ads with most confidence."""
    aurc: float
    """Area below it."""


@dataclass(frozen=True)
class Histograms:
    """Several sets counted over the same bins."""

    edges: list[float]
    counts: dict[str, list[int]]


def class_curves(p_NC: np.ndarray, labels_N: np.ndarray) -> ClassCurves:
    """PR and ROC over all (ad, class) pairs: micro-averaged, one class against the rest."""
    truth = (np.arange(p_NC.shape[1]) == labels_N[:, None]).ravel()
    precision, recall, _ = precision_recall_curve(truth, p_NC.ravel())
    false_positive, true_positive, _ = roc_curve(truth, p_NC.ravel())
    return ClassCurves(
        pr=thinned(recall[::-1], precision[::-1]),
        roc=thinned(false_positive, true_positive),
    )


def ood_roc(scores_in: np.ndarray, scores_out: np.ndarray) -> Points:
    """ROC with out-of-domain texts as the positive class."""
    truth = np.r_[np.zeros(len(scores_in)), np.ones(len(scores_out))]
    false_positive, true_positive, _ = roc_curve(truth, np.r_[scores_in, scores_out])
    return thinned(false_positive, true_positive)


def risk_coverage(confidence_N: np.ndarray, correct_N: np.ndarray) -> RiskCoverage:
    """Measure the error rate among the share of ads with most confidence.

    Ads of equal confidence are taken together. Source: El-Yaniv and Wiener 2010, section 2; AURC
    from Geifman et al. 2019, section 3.
    """
    order = np.argsort(-confidence_N, kind="stable")
    confidence_N, wrong_N = confidence_N[order], ~correct_N[order]
    last_N = np.r_[
        confidence_N[1:] != confidence_N[:-1], True
    ]  # a threshold cannot split a tie
    taken_N = np.arange(1, len(order) + 1)
    coverage, risk = (
        (taken_N / len(order))[last_N],
        (np.cumsum(wrong_N) / taken_N)[last_N],
    )
    aurc = float(np.sum(risk * np.diff(np.r_[0.0, coverage])))
    return RiskCoverage(thinned(coverage, risk), aurc)


def histograms(sets: Mapping[str, np.ndarray]) -> Histograms:
    """Count every set over the same log-spaced bins."""
    values = np.concatenate(list(sets.values()))
    low = max(float(values.min()), 1e-3)
    edges = np.geomspace(low, max(float(values.max()), 2 * low), HISTOGRAM_BINS + 1)
    counts = {
        name: np.histogram(np.clip(split, edges[0], edges[-1]), edges)[0].tolist()
        for name, split in sets.items()
    }
    return Histograms(edges.tolist(), counts)


def thinned(x: np.ndarray, y: np.ndarray) -> Points:
    """Keep about CURVE_POINTS points, evenly spaced along the curve.

    By index, a steep stretch would get none.
    """
    length = np.r_[0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))]
    rows = np.unique(np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS)))
    return [[float(x[row]), float(y[row])] for row in rows]

"""How good predictions, probabilities and OOD scores are.

Shapes: N ads, C classes. Labels and predictions are class indices, in the order of `class_names`.
Every function raises InputError when it is given no rows.
"""

import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from rubert_ood.errors import InputError, SchemaError
from rubert_ood.ood.temperature import nll

__all__ = [
    "ClassMetrics",
    "ClassificationMetrics",
    "ConfusionPair",
    "OodMetrics",
    "ReliabilityBin",
    "classification_metrics",
    "confusion_pairs",
    "ece",
    "nll",
    "ood_metrics",
    "reliability_bins",
]


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall and F1 of one class; support counts its ads."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassificationMetrics:
    """How right the best classes are, whatever their confidence."""

    accuracy: float
    macro_f1: float
    """Mean over the classes that occur in labels or predictions, as in sklearn."""
    per_class: list[ClassMetrics]
    """Every class."""


@dataclass(frozen=True)
class OodMetrics:
    """How well scores keep out-of-domain texts apart from in-domain ads."""

    auroc: float
    aupr_out: float
    aupr_in: float
    fpr95: float


@dataclass(frozen=True)
class ReliabilityBin:
    """Ads whose confidence lies in (lower, upper].

    confidence and accuracy are means, None in an empty bin.
    """

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class ConfusionPair:
    """Ads of class `true` that were taken for `predicted`."""

    true: str
    predicted: str
    count: int
    share_of_true: float


def classification_metrics(
    labels_N: ArrayLike, predicted_N: ArrayLike, class_names: Sequence[str]
) -> ClassificationMetrics:
    """Measure every class; an undefined ratio counts as 0."""
    labels, predicted = _class_indices(labels_N, predicted_N, len(class_names))
    precision_C, recall_C, f1_C, support_C = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(class_names)), zero_division=0
    )
    per_class = [
        ClassMetrics(
            label=name,
            precision=float(precision_C[number]),
            recall=float(recall_C[number]),
            f1=float(f1_C[number]),
            support=int(support_C[number]),
        )
        for number, name in enumerate(class_names)
    ]
    return ClassificationMetrics(
        accuracy=float(accuracy_score(labels, predicted)),
        macro_f1=float(f1_C[np.union1d(labels, predicted)].mean()),
        per_class=per_class,
    )


def confusion_pairs(
    labels_N: ArrayLike, predicted_N: ArrayLike, class_names: Sequence[str], top: int = 15
) -> list[ConfusionPair]:
    """Return at most `top` confusions, the most frequent first, then by class order."""
    labels, predicted = _class_indices(labels_N, predicted_N, len(class_names))
    counts_CC = confusion_matrix(labels, predicted, labels=np.arange(len(class_names)))
    support_C = counts_CC.sum(axis=1)
    errors_CC = counts_CC - np.diag(np.diag(counts_CC))
    order = np.argsort(-errors_CC, axis=None, kind="stable")[:top]
    pairs = [divmod(int(flat), len(class_names)) for flat in order]
    return [
        ConfusionPair(
            true=class_names[true],
            predicted=class_names[wrong],
            count=int(errors_CC[true, wrong]),
            share_of_true=float(errors_CC[true, wrong] / support_C[true]),
        )
        for true, wrong in pairs
        if errors_CC[true, wrong] > 0
    ]


def reliability_bins(
    probabilities_NC: ArrayLike, labels_N: ArrayLike, num_bins: int = 15
) -> list[ReliabilityBin]:
    """Cut the ads by confidence (largest probability) into bins of equal width over (0, 1].

    Source: Guo et al. 2017, section 2.
    """
    probabilities = np.asarray(probabilities_NC, dtype=np.float64)
    labels = np.asarray(labels_N)
    _require_rows(labels)
    confidence_N = probabilities.max(axis=1)
    correct_N = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    # side="left" puts a value that equals an upper edge below it; inner edges only, so rounding
    # above 1 stays inside.
    bin_N = np.searchsorted(edges[1:-1], confidence_N, side="left")
    count_B = np.bincount(bin_N, minlength=num_bins)
    confidence_B = np.bincount(bin_N, weights=confidence_N, minlength=num_bins)
    correct_B = np.bincount(bin_N, weights=correct_N, minlength=num_bins)
    return [
        ReliabilityBin(
            lower=float(edges[index]),
            upper=float(edges[index + 1]),
            count=int(count),
            confidence=float(confidence_B[index] / count) if count else None,
            accuracy=float(correct_B[index] / count) if count else None,
        )
        for index, count in enumerate(count_B)
    ]


def ece(probabilities_NC: ArrayLike, labels_N: ArrayLike, num_bins: int = 15) -> float:
    """Return the expected calibration error.

    The mean of |accuracy - confidence| over the bins, weighted by count.

    Source: Guo et al. 2017, equation 3.
    """
    gap = 0.0
    total = 0
    for reliability in reliability_bins(probabilities_NC, labels_N, num_bins):
        accuracy, confidence = reliability.accuracy, reliability.confidence
        if accuracy is not None and confidence is not None:
            gap += reliability.count * abs(accuracy - confidence)
            total += reliability.count
    return gap / total


def chance_ece(probabilities_NC: ArrayLike, num_bins: int = 15) -> float:
    """Return about the ECE that perfectly calibrated probabilities have on so few ads.

    In a bin, labels drawn by the probabilities miss the confidence by the mean absolute value of a
    normal variable of the variance sum p (1 - p), p being the confidences.
    """
    confidence_N = np.asarray(probabilities_NC, dtype=np.float64).max(axis=1)
    _require_rows(confidence_N)
    bin_N = np.ceil(confidence_N * num_bins).astype(np.int64).clip(1, num_bins)
    variance_B = np.bincount(bin_N, weights=confidence_N * (1 - confidence_N))
    deviation_B = np.sqrt(variance_B.clip(0))
    return float(math.sqrt(2 / math.pi) * deviation_B.sum() / len(confidence_N))


def ood_metrics(scores_in: ArrayLike, scores_out: ArrayLike) -> OodMetrics:
    """Compare OOD scores (larger = more OOD) of in-domain and out-of-domain ads.

    auroc, aupr_out and fpr95 take OOD as the positive class; aupr_in takes in-domain, with negated
    scores. fpr95 is the smallest share of in-domain ads flagged by a threshold that flags at least
    95 % of the OOD ads. Source: Hendrycks and Gimpel 2017, section 2; FPR95 from Liang et al.
    2018, section 4.2.
    """
    inside = np.asarray(scores_in, dtype=np.float64)
    outside = np.asarray(scores_out, dtype=np.float64)
    _require_rows(inside)
    _require_rows(outside)
    scores = np.concatenate([inside, outside])
    is_out = np.concatenate(
        [np.zeros(len(inside), dtype=bool), np.ones(len(outside), dtype=bool)]
    )
    curve = roc_curve(is_out, scores, drop_intermediate=False)
    false_positive, true_positive, _ = curve
    return OodMetrics(
        auroc=float(roc_auc_score(is_out, scores)),
        aupr_out=float(average_precision_score(is_out, scores)),
        aupr_in=float(average_precision_score(~is_out, -scores)),
        fpr95=float(false_positive[np.argmax(true_positive >= 0.95)]),
    )


def _class_indices(
    labels_N: ArrayLike, predicted_N: ArrayLike, num_classes: int
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    labels, predicted = np.asarray(labels_N), np.asarray(predicted_N)
    _require_rows(labels)
    for name, indices in (("labels", labels), ("predictions", predicted)):
        if len(indices) != len(labels):
            raise SchemaError(
                f"there are {len(labels)} labels, but {len(indices)} {name}."
                " Take both from the same ads"
            )
        if indices.min() < 0 or indices.max() >= num_classes:
            raise SchemaError(
                f"{name} go from {indices.min()} to {indices.max()}, but"
                f" must lie in 0 to {num_classes - 1}. Number the classes"
                " from 0"
            )
    return labels, predicted


def _require_rows(rows: Sized) -> None:
    if len(rows) == 0:
        raise InputError("there are no ads to measure, since the split is empty. Add ads")

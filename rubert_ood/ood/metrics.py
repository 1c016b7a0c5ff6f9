"""Metrics of classification, calibration and out-of-domain detection. A larger score means more OOD, everywhere.

Shapes: N ads, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

CAUGHT_SHARE = 0.95


def classification_metrics(labels_N: np.ndarray, predicted_N: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Return accuracy, macro_f1 (over classes that occur) and per_class: label, precision, recall, f1, support."""
    numbers = np.arange(len(class_names))
    columns = precision_recall_fscore_support(labels_N, predicted_N, labels=numbers, zero_division=0)
    per_class = [
        {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(class_names, *columns, strict=True)
    ]
    return {
        "accuracy": float(accuracy_score(labels_N, predicted_N)),
        "macro_f1": float(f1_score(labels_N, predicted_N, average="macro", zero_division=0)),
        "per_class": per_class,
    }


def confusion_pairs(
    labels_N: np.ndarray, predicted_N: np.ndarray, class_names: Sequence[str], *, top: int = 15
) -> list[dict[str, Any]]:
    """Return the most frequent mistakes: true, predicted, count, share_of_true."""
    matrix_CC = confusion_matrix(labels_N, predicted_N, labels=np.arange(len(class_names)))
    support_C = matrix_CC.sum(axis=1)
    np.fill_diagonal(matrix_CC, 0)
    pairs = []
    for flat in np.argsort(-matrix_CC, axis=None, kind="stable")[:top]:
        true, predicted = divmod(int(flat), len(class_names))
        count = int(matrix_CC[true, predicted])
        if count:
            share = count / int(support_C[true])
            pairs.append(
                {"true": class_names[true], "predicted": class_names[predicted], "count": count, "share_of_true": share}
            )
    return pairs


def reliability_bins(p_NC: np.ndarray, labels_N: np.ndarray, *, num_bins: int = 15) -> list[dict[str, Any]]:
    """Return, per bin (lower, upper] of the top probability: count, mean confidence, accuracy (None when empty)."""
    confidence_N, correct_N = p_NC.max(axis=1), p_NC.argmax(axis=1) == labels_N
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    bin_N = np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, num_bins - 1)
    bins = []
    for number in range(num_bins):
        inside = bin_N == number
        count = int(inside.sum())
        bins.append(
            {
                "lower": float(edges[number]),
                "upper": float(edges[number + 1]),
                "count": count,
                "confidence": float(confidence_N[inside].mean()) if count else None,
                "accuracy": float(correct_N[inside].mean()) if count else None,
            }
        )
    return bins


def ece(p_NC: np.ndarray, labels_N: np.ndarray, *, num_bins: int = 15) -> float:
    """Return the expected calibration error over bins of equal width. Guo et al. 2017, eq. 3."""
    bins = reliability_bins(p_NC, labels_N, num_bins=num_bins)
    gaps = [item["count"] * abs(item["accuracy"] - item["confidence"]) for item in bins if item["count"]]
    return float(sum(gaps) / len(labels_N))


def ood_metrics(scores_in: np.ndarray, scores_out: np.ndarray) -> dict[str, float]:
    """Compare the scores of in-domain ads and of OOD texts.

    auroc; aupr_out (OOD is the positive class); aupr_in (in-domain is the positive class, scores negated);
    fpr95: the share of in-domain ads flagged at the highest threshold that catches at least 95 % of the OOD texts.
    """
    truth = np.r_[np.zeros(len(scores_in)), np.ones(len(scores_out))]
    scores = np.r_[scores_in, scores_out]
    false_positive, true_positive, _ = roc_curve(truth, scores, drop_intermediate=False)
    return {
        "auroc": float(roc_auc_score(truth, scores)),
        "aupr_out": float(average_precision_score(truth, scores)),
        "aupr_in": float(average_precision_score(1 - truth, -scores)),
        "fpr95": float(false_positive[np.argmax(true_positive >= CAUGHT_SHARE)]),
    }

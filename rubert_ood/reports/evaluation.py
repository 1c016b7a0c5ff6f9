"""The numbers of the evaluation report: everything that the page shows, as plain JSON.

Shapes: N ads, C classes, H hidden.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from rubert_ood.ood.decision import OTHER, Decisions
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.metrics import classification_metrics, confusion_pairs, ece, ood_metrics, reliability_bins
from rubert_ood.ood.temperature import nll, softmax
from rubert_ood.reports.verdict import verdict

if TYPE_CHECKING:  # its module loads torch and Ray
    from rubert_ood.classifier.features import Features

CURVE_POINTS = 200
HISTOGRAM_BINS = 60
EXAMPLES_PER_PAIR = 2
EXAMPLE_CHARACTERS = 200


def evaluate(
    fitted: FittedModel,
    splits: Mapping[str, "Features"],
    *,
    hard_cases: tuple[Sequence[tuple[str, str]], "Features"] | None,
    ood: Mapping[str, "Features"] | None,
    baseline: Mapping[str, float] | None,
    test_texts: Sequence[str],
    context: Mapping[str, Any],
) -> dict[str, Any]:
    """Measure `test`, and what else is given.

    splits: `test`, and `train` and `valid` where they are known. hard_cases: (text, expected label) with the features
    of the texts. ood: features by kind; kinds are never averaged. Numbers that have no value are null.
    """
    test = splits["test"]
    decisions = fitted.decide(test.logits_NC, test.cls_NH)
    temperature = fitted.temperature.temperature
    p_raw_NC, p_NC = (softmax(test.logits_NC, t) for t in (1.0, temperature))
    metrics = classification_metrics(test.labels_N, decisions.predicted_N, fitted.labels)
    kinds = sorted((ood or {}).items())
    d2 = {name: fitted.statistics.distance(part.cls_NH)[0] for name, part in splits.items()}
    d2 |= {f"OOD: {kind}": fitted.statistics.distance(part.cls_NH)[0] for kind, part in kinds}
    evaluation: dict[str, Any] = {
        "context": dict(context),
        "labels": fitted.labels,
        "decision": fitted.decision.model_dump(),
        "headline": {
            "num_test": len(test.labels_N),
            "accuracy": metrics["accuracy"],
            "macro_f1": metrics["macro_f1"],
            "temperature": temperature,
            "at_bound": fitted.temperature.at_bound,
            "nll_before": nll(test.logits_NC, test.labels_N),
            "nll_after": nll(test.logits_NC, test.labels_N, temperature),
            "ece_before": ece(p_raw_NC, test.labels_N),
            "ece_after": ece(p_NC, test.labels_N),
            "mean_d2": {name: float(d2[name].mean()) for name in splits},
            "mean_d2_own_class": _mean_d2_own_class(fitted, splits),
            "threshold": fitted.thresholds.threshold,
            "mu": fitted.thresholds.mu,
            "sigma": fitted.thresholds.sigma,
            "ood_rate": float(decisions.is_ood.mean()),
            "other_rate": float((decisions.label == OTHER).mean()),
        },
        "baseline": dict(baseline) if baseline else None,
        "per_class": metrics["per_class"],
        "confusions": _confusions(test, decisions, fitted.labels, test_texts),
        "reliability_before": reliability_bins(p_raw_NC, test.labels_N),
        "reliability_after": reliability_bins(p_NC, test.labels_N),
        "curves": _curves(p_NC, test.labels_N),
        "d2_histograms": _histograms(d2),
        "d2_limit": fitted.decision.alpha * fitted.thresholds.threshold,
        "hard_cases": _hard_cases(fitted, *hard_cases) if hard_cases else [],
        "ood_kinds": [_ood_kind(fitted, kind, part, decisions) for kind, part in kinds],
    }
    return evaluation | {"verdict": verdict(evaluation)}


def _mean_d2_own_class(fitted: FittedModel, splits: Mapping[str, "Features"]) -> float | None:
    """Return the mean d2 of train to the own class of each ad: H, by the scale of the precision."""
    if "train" not in splits:
        return None
    train = splits["train"]
    return float(fitted.statistics.own_class_distance(train.cls_NH, train.labels_N).mean())


def _confusions(
    test: "Features", decisions: Decisions, labels: list[str], texts: Sequence[str]
) -> list[dict[str, Any]]:
    """List the most frequent mistakes with the ads that the model is most sure of."""
    numbers = {label: number for number, label in enumerate(labels)}
    confusions = []
    for pair in confusion_pairs(test.labels_N, decisions.predicted_N, labels):
        true, predicted = numbers[pair["true"]], numbers[pair["predicted"]]
        rows = np.flatnonzero((test.labels_N == true) & (decisions.predicted_N == predicted))
        rows = rows[np.argsort(-decisions.confidence_N[rows], kind="stable")]
        distinct = list(dict.fromkeys(texts[int(row)] for row in rows))[:EXAMPLES_PER_PAIR]
        confusions.append({**pair, "examples": [text[:EXAMPLE_CHARACTERS] for text in distinct]})
    return confusions


def _curves(p_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, list[list[float]]]:
    """PR and ROC over all (ad, class) pairs: micro-averaged, one class against the rest."""
    truth = (np.arange(p_NC.shape[1]) == labels_N[:, None]).ravel()
    precision, recall, _ = precision_recall_curve(truth, p_NC.ravel())
    false_positive, true_positive, _ = roc_curve(truth, p_NC.ravel())
    return {"pr": _thinned(recall[::-1], precision[::-1]), "roc": _thinned(false_positive, true_positive)}


def _thinned(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """Keep about CURVE_POINTS points, evenly spaced along the curve: by index, a steep stretch would get none."""
    length = np.r_[0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))]
    rows = np.unique(np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS)))
    return [[float(x[row]), float(y[row])] for row in rows]


def _histograms(d2: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Count every set over the same log-spaced bins of d2."""
    values = np.concatenate(list(d2.values()))
    low = max(float(values.min()), 1e-3)
    edges = np.geomspace(low, max(float(values.max()), 2 * low), HISTOGRAM_BINS + 1)
    counts = {name: np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0].tolist() for name, part in d2.items()}
    return {"edges": edges.tolist(), "counts": counts}


def _hard_cases(fitted: FittedModel, cases: Sequence[tuple[str, str]], features: "Features") -> list[dict[str, Any]]:
    decisions = fitted.decide(features.logits_NC, features.cls_NH)
    return [
        {
            "text": text,
            "expected": expected,
            "label": str(decisions.label[row]),
            "best": str(decisions.topk_labels[row, 0]),
            "confidence": float(decisions.confidence_N[row]),
            "d2": float(decisions.ood_distance_N[row]),
            "is_ood": bool(decisions.is_ood[row]),
            "ok": bool(decisions.label[row] == expected),
        }
        for row, (text, expected) in enumerate(cases)
    ]


def _ood_kind(fitted: FittedModel, kind: str, features: "Features", test: Decisions) -> dict[str, Any]:
    """Tell how far a kind of text is kept apart from the test ads, by d2 and by 1 - confidence (MSP)."""
    decisions = fitted.decide(features.logits_NC, features.cls_NH)
    by_d2 = ood_metrics(test.ood_distance_N, decisions.ood_distance_N)
    by_msp = ood_metrics(1 - test.confidence_N, 1 - decisions.confidence_N)
    truth = np.r_[np.zeros(len(test.is_ood)), np.ones(len(decisions.is_ood))]
    roc = roc_curve(truth, np.r_[test.ood_distance_N, decisions.ood_distance_N])
    return {
        "kind": kind,
        "num_texts": len(decisions.is_ood),
        "flagged": float(decisions.is_ood.mean()),
        "caught": float((decisions.label == OTHER).mean()),
        "d2": by_d2,
        "msp": by_msp,
        "roc": _thinned(roc[0], roc[1]),
    }

"""The numbers of the evaluation report: everything that the page shows, as plain JSON.

Shapes: N ads, C classes, H hidden.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ood.comparison import compare_detectors, compare_rules
from rubert_ood.ood.decision import OTHER, Decisions, d2_limit
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.metrics import classification_metrics, confusion_pairs, ece, reliability_bins
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.ood.temperature import nll, softmax
from rubert_ood.reports.curves import class_curves, histograms, ood_roc, risk_coverage
from rubert_ood.reports.verdict import verdict

EXAMPLES_PER_PAIR = 2
EXAMPLE_CHARACTERS = 200


def evaluate(
    fitted: FittedModel,
    splits: Mapping[str, Outputs],
    *,
    hard_cases: tuple[Sequence[tuple[str, str]], Outputs] | None,
    ood: Mapping[str, Outputs] | None,
    baseline: Mapping[str, float] | None,
    reference: Reference | None,
    test_ads: LabelledAds,
    context: Mapping[str, Any],
) -> dict[str, Any]:
    """Measure `test`, and what else is given.

    splits: `test`, and `train` and `valid` where they are known. hard_cases: (text, expected label)
    with the features of the texts. ood: features by kind; kinds are never averaged. reference: what
    detectors are fitted on; without it they are not compared. Numbers that have no value are null.
    """
    test = splits["test"]
    decisions = fitted.decide(test.logits_NC, test.cls_NH)
    temperature = fitted.temperature.temperature
    correct_N = decisions.predicted_N == test.labels_N
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
            "calibrated_on": fitted.calibrated_on,
            "num_calibration": len(fitted.thresholds.calibration_d2),
            "far_rate": float(decisions.is_far_N.mean()),
            "ood_rate": float(decisions.is_ood.mean()),
            "other_rate": float((decisions.label == OTHER).mean()),
        },
        "baseline": dict(baseline) if baseline else None,
        "per_class": metrics["per_class"],
        "confusions": _confusions(test, decisions, fitted.labels, test_ads.texts),
        "reliability_before": reliability_bins(p_raw_NC, test.labels_N),
        "reliability_after": reliability_bins(p_NC, test.labels_N),
        "curves": class_curves(p_NC, test.labels_N),
        "risk_coverage": risk_coverage(decisions.confidence_N, correct_N),
        "d2_histograms": histograms(d2),
        "d2_limit": d2_limit(fitted.decision, fitted.thresholds),
        "rules": compare_rules(fitted, test=test, kinds=dict(kinds)),
        "detectors": compare_detectors(fitted, reference, test=test, kinds=dict(kinds))
        if reference
        else [],
        "slices": _slices(test_ads.traits, decisions, correct_N),
        "hard_cases": _hard_cases(fitted, *hard_cases) if hard_cases else [],
        "ood_kinds": [_ood_kind(fitted, kind, part, decisions) for kind, part in kinds],
    }
    return evaluation | {"verdict": verdict(evaluation)}


def _mean_d2_own_class(fitted: FittedModel, splits: Mapping[str, Outputs]) -> float | None:
    """Return the mean d2 of train to the own class of each ad: H, by the scale of the precision."""
    if "train" not in splits:
        return None
    train = splits["train"]
    return float(fitted.statistics.own_class_distance(train.cls_NH, train.labels_N).mean())


def _confusions(
    test: Outputs, decisions: Decisions, labels: list[str], texts: Sequence[str]
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


def _slices(
    traits: Mapping[str, Sequence[str]], decisions: Decisions, correct_N: np.ndarray
) -> list[dict[str, Any]]:
    """Measure each slice of the test ads, by trait, the largest first; a trait that all share says
    nothing."""
    slices = []
    for trait, values in traits.items():
        values_N = np.array(values, dtype=object)
        frequent = Counter(values).most_common()
        for value, _ in frequent if len(frequent) > 1 else []:
            rows = values_N == value
            slices.append(
                {
                    "trait": trait,
                    "value": value,
                    "num_test": int(rows.sum()),
                    "accuracy": float(correct_N[rows].mean()),
                    "confidence": float(decisions.confidence_N[rows].mean()),
                    "ood_rate": float(decisions.is_ood[rows].mean()),
                    "other_rate": float((decisions.label[rows] == OTHER).mean()),
                }
            )
    return slices


def _hard_cases(
    fitted: FittedModel, cases: Sequence[tuple[str, str]], features: Outputs
) -> list[dict[str, Any]]:
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


def _ood_kind(fitted: FittedModel, kind: str, features: Outputs, test: Decisions) -> dict[str, Any]:
    """Tell what becomes of a kind of text, and how d2 keeps it apart from the test ads."""
    decisions = fitted.decide(features.logits_NC, features.cls_NH)
    return {
        "kind": kind,
        "num_texts": len(decisions.is_ood),
        "flagged": float(decisions.is_ood.mean()),
        "caught": float((decisions.label == OTHER).mean()),
        "roc": ood_roc(test.ood_distance_N, decisions.ood_distance_N),
    }

"""Compare detectors and decision rules on the same outputs of one model: what they catch, and at
which price.

Kinds of foreign text are never averaged: near and far ones have nothing in common. Shapes: N ads, C
classes, H hidden.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rubert_ood.ood.decision import OTHER, can_flag, conformal_p
from rubert_ood.ood.detectors import Detector, fit_detectors
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.metrics import ood_metrics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference

NUM_FOLDS = 5
RULES = ("notebook", "conformal")


def compare_detectors(
    fitted: FittedModel, reference: Reference, *, test: Outputs, kinds: Mapping[str, Outputs]
) -> list[dict[str, Any]]:
    """Return one entry per detector: {"detector", "flagged", "kinds": {kind: {**ood_metrics,
    "caught"}}, "left_out"}.

    A detector flags what has a conformal p of at most conformal_alpha among its own scores of the
    calibration ads: flagged is the share of test ads, caught that of foreign texts, before any
    confidence gate. left_out is what `leave_classes_out` says of it, or None.
    """
    alpha, train = fitted.decision.conformal_alpha, reference.train
    detectors = fit_detectors(
        train.cls_NH,
        train.labels_N,
        statistics=fitted.statistics,
        temperature=fitted.temperature.temperature,
    )
    left_out = leave_classes_out(train, test, temperature=fitted.temperature.temperature)
    entries = []
    for name, detector in detectors.items():
        calibration = np.sort(_score(detector, reference.calibration))
        inside_N = _score(detector, test)
        caught = {}
        for kind, outputs in kinds.items():
            scores_N = _score(detector, outputs)
            caught[kind] = ood_metrics(inside_N, scores_N) | {
                "caught": float(np.mean(conformal_p(scores_N, calibration) <= alpha))
            }
        entries.append(
            {
                "detector": name,
                "flagged": float(np.mean(conformal_p(inside_N, calibration) <= alpha)),
                "kinds": caught,
                "left_out": left_out.get(name),
            }
        )
    return entries


def leave_classes_out(
    train: Outputs, test: Outputs, *, temperature: float
) -> dict[str, dict[str, float]]:
    """Return `ood_metrics` by detector, the mean over folds of classes that are foreign in turn:
    near OOD.

    The detectors do not know the classes of a fold: its train ads and its logits are left out. The
    encoder has seen them in training, so a category that is really new is harder. Empty with fewer
    than two classes a fold.
    """
    num_classes = test.logits_NC.shape[1]
    if num_classes < 2 * NUM_FOLDS:
        return {}
    fold_C = (
        np.random.default_rng(0).permutation(num_classes) % NUM_FOLDS
    )  # neighbours in the alphabet are alike
    results: dict[str, list[dict[str, float]]] = {}
    for fold in range(NUM_FOLDS):
        foreign_N = fold_C[test.labels_N] == fold
        if foreign_N.all() or not foreign_N.any():
            continue
        known = train.take(np.flatnonzero(fold_C[train.labels_N] != fold))
        classes, numbers_N = np.unique(known.labels_N, return_inverse=True)
        statistics = fit_mahalanobis(known.cls_NH, numbers_N, len(classes))
        logits_NC = test.logits_NC[:, fold_C != fold]
        for name, detector in fit_detectors(
            known.cls_NH, numbers_N, statistics=statistics, temperature=temperature
        ).items():
            scores_N = detector(logits_NC, test.cls_NH)
            results.setdefault(name, []).append(
                ood_metrics(scores_N[~foreign_N], scores_N[foreign_N])
            )
    return {
        name: {key: float(np.mean([fold[key] for fold in folds])) for key in folds[0]}
        for name, folds in results.items()
    }


def compare_rules(
    fitted: FittedModel, *, test: Outputs, kinds: Mapping[str, Outputs]
) -> list[dict[str, Any]]:
    """Return one entry per decision rule: {"rule", "chosen", "possible", "test": rates, "kinds":
    {kind: rates}}.

    rates: {"far": share that the rule calls far, "flagged": share that is OOD after the confidence
    gate, "other": share that ends as Other}. possible is False where the calibration ads are too
    few for the rule; nothing is far then.
    """
    entries = []
    for rule in RULES:
        model = replace(fitted, decision=fitted.decision.model_copy(update={"rule": rule}))
        entries.append(
            {
                "rule": rule,
                "chosen": rule == fitted.decision.rule,
                "possible": can_flag(model.decision, len(fitted.thresholds.calibration_d2)),
                "test": _rates(model, test),
                "kinds": {kind: _rates(model, outputs) for kind, outputs in kinds.items()},
            }
        )
    return entries


def _rates(model: FittedModel, outputs: Outputs) -> dict[str, float]:
    decisions = model.decide(outputs.logits_NC, outputs.cls_NH)
    return {
        "far": float(decisions.is_far_N.mean()),
        "flagged": float(decisions.is_ood.mean()),
        "other": float((decisions.label == OTHER).mean()),
    }


def _score(detector: Detector, outputs: Outputs) -> np.ndarray:
    return detector(outputs.logits_NC, outputs.cls_NH)

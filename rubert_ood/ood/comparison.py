"""Compare detectors and decision rules on the same outputs of one model.

What they flag of OOD texts, and of in-domain ads. Kinds of OOD text are never averaged: near and
far ones have nothing in common. Shapes: N ads, C classes, H hidden.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from rubert_ood.ood.chosen import ChosenDetector, rank_all
from rubert_ood.ood.conformal import conformal_p
from rubert_ood.ood.decision import OTHER, can_flag
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.metrics import OodMetrics, ood_metrics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.settings import DecisionSettings

NUM_FOLDS = 5
RULES = ("notebook", "conformal")


@dataclass(frozen=True)
class KindMetrics(OodMetrics):
    """How a detector does on one kind of OOD text."""

    caught: float
    """Share of the texts that it flags, under the key of evaluation.json."""


@dataclass(frozen=True)
class DetectorResult:
    """What a detector flags, whatever the confidence.

    It flags what has a conformal p of at most conformal_alpha among its own scores of the
    calibration ads.
    """

    detector: str
    flagged: float
    """Share of the test ads."""
    kinds: dict[str, KindMetrics]
    left_out: OodMetrics | None
    """What `leave_classes_out` says of it; None with too few classes."""


@dataclass(frozen=True)
class Rates:
    """What a decision rule makes of some texts."""

    far: float
    """Share that the rule calls far."""
    flagged: float
    """Share that is OOD after the confidence gate."""
    other: float
    """Share that ends as Other."""


@dataclass(frozen=True)
class RuleResult:
    """How one OOD rule would flag the same texts."""

    rule: str
    chosen: bool
    """It is the rule that decides."""
    possible: bool
    """Whether the calibration ads are enough for it; nothing is far otherwise."""
    test: Rates
    kinds: dict[str, Rates]


def compare_detectors(
    fitted: FittedModel,
    reference: Reference,
    *,
    test: Outputs,
    kinds: Mapping[str, Outputs],
) -> list[DetectorResult]:
    """Measure every detector on the test ads and each kind of OOD text."""
    temperature = fitted.temperature.temperature
    detectors = rank_all(
        reference.train,
        reference.calibration,
        statistics=fitted.statistics,
        temperature=temperature,
    )
    if fitted.detector is not None:
        detectors[fitted.detector.title] = fitted.detector
    left_out = leave_classes_out(reference, test, temperature=temperature)
    alpha = fitted.decision.conformal_alpha
    results = []
    for name, detector in detectors.items():
        inside_N = detector.score(test)
        measured = {}
        for kind, outputs in kinds.items():
            scores_N = detector.score(outputs)
            metrics = ood_metrics(inside_N, scores_N)
            share = _flagged(scores_N, detector, alpha)
            measured[kind] = KindMetrics(**asdict(metrics), caught=share)
        flagged = _flagged(inside_N, detector, alpha)
        results.append(DetectorResult(name, flagged, measured, left_out.get(name)))
    return results


def _flagged(scores_N: np.ndarray, detector: ChosenDetector, alpha: float) -> float:
    return float(np.mean(conformal_p(scores_N, detector.ranking_n) <= alpha))


def leave_classes_out(
    reference: Reference, test: Outputs, *, temperature: float
) -> dict[str, OodMetrics]:
    """Return the metrics by detector, means over folds of classes that are OOD in turn: near OOD.

    The detectors do not know the classes of a fold: its ads and its logits are left out. The
    encoder has seen them in training, so a category that is really new is harder. Empty with fewer
    than two classes a fold.
    """
    results: dict[str, list[OodMetrics]] = {}
    for fold_C in _folds(test.logits_NC.shape[1]):
        is_out_N = fold_C[test.labels_N]
        if is_out_N.all() or not is_out_N.any():
            continue
        known = _without(reference.train, fold_C)
        calibration = _without(reference.calibration, fold_C)
        classes, numbers_N = np.unique(known.labels_N, return_inverse=True)
        statistics = fit_mahalanobis(known.cls_NH, numbers_N, len(classes))
        detectors = rank_all(
            replace(known, labels_N=numbers_N),
            calibration,
            statistics=statistics,
            temperature=temperature,
        )
        known_logits = replace(test, logits_NC=test.logits_NC[:, ~fold_C])
        for name, detector in detectors.items():
            scores_N = detector.score(known_logits)
            metrics = ood_metrics(scores_N[~is_out_N], scores_N[is_out_N])
            results.setdefault(name, []).append(metrics)
    return {name: _mean(folds) for name, folds in results.items()}


def _without(outputs: Outputs, fold_C: np.ndarray) -> Outputs:
    """Return the ads of the other classes, without the logits of the fold."""
    known = outputs.take(np.flatnonzero(~fold_C[outputs.labels_N]))
    return replace(known, logits_NC=known.logits_NC[:, ~fold_C])


def _folds(num_classes: int) -> Iterator[np.ndarray]:
    """Yield which classes are left out, bool (C,).

    In random order: neighbours in the alphabet are alike.
    """
    if num_classes < 2 * NUM_FOLDS:
        return
    number_C = np.random.default_rng(0).permutation(num_classes) % NUM_FOLDS
    for number in range(NUM_FOLDS):
        yield number_C == number


def _mean(folds: Sequence[OodMetrics]) -> OodMetrics:
    means = {}
    for field in fields(OodMetrics):
        means[field.name] = float(np.mean([getattr(fold, field.name) for fold in folds]))
    return OodMetrics(**means)


def compare_rules(
    fitted: FittedModel, *, test: Outputs, kinds: Mapping[str, Outputs]
) -> list[RuleResult]:
    """Say what each decision rule would make of the test ads and of each kind of OOD text."""
    results = []
    for rule in RULES:
        decision = fitted.decision.model_copy(update={"rule": rule})
        result = RuleResult(
            rule=rule,
            chosen=rule == fitted.decision.rule,
            possible=can_flag(decision, len(fitted.thresholds.calibration_d2)),
            test=_rates(fitted, decision, test),
            kinds={
                kind: _rates(fitted, decision, outputs) for kind, outputs in kinds.items()
            },
        )
        results.append(result)
    return results


def _rates(fitted: FittedModel, decision: DecisionSettings, outputs: Outputs) -> Rates:
    model = replace(fitted, decision=decision)
    decisions = model.decide(outputs)
    return Rates(
        far=float(decisions.is_far_N.mean()),
        flagged=float(decisions.is_ood_N.mean()),
        other=float((decisions.label_N == OTHER).mean()),
    )

"""Measure a fitted model: every number of the evaluation report.

Shapes: N ads, C classes, H hidden.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from rubert_ood.ads.dataset import Ads
from rubert_ood.ads.extra_texts import ExtraTexts
from rubert_ood.ood.comparison import compare_detectors, compare_rules
from rubert_ood.ood.decision import OTHER, Decisions
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.limits import d2_limit
from rubert_ood.ood.metrics import (
    ClassificationMetrics,
    chance_ece,
    classification_metrics,
    confusion_pairs,
    ece,
    reliability_bins,
)
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.ood.temperature import nll, softmax
from rubert_ood.reports.class_limits import class_limits
from rubert_ood.reports.curves import class_curves, histograms, ood_roc, risk_coverage
from rubert_ood.reports.evaluation import (
    EXAMPLES_PER_PAIR,
    NUM_CONFUSIONS,
    Confusion,
    Context,
    Evaluation,
    HardCase,
    Headline,
    OodKind,
    Slice,
)
from rubert_ood.reports.verdict import recommended_detector, verdict
from rubert_ood.training.baseline import Baseline
from rubert_ood.training.stack import StackReport

EXAMPLE_CHARACTERS = 200
SPLITS = ("train", "valid", "calibration", "test")
OOD_PREFIX = "ood/"
"""Of the splits of `ExtraTexts` that hold a kind of OOD text."""


@dataclass(frozen=True)
class Material:
    """What a model is measured on, with its outputs."""

    splits: Mapping[str, Outputs]
    """`test`, and `train`, `valid` and `calibration` where they are known."""
    test_ads: Ads
    hard_cases: Sequence[tuple[str, str]] = ()
    """(text as written, expected label)."""
    hard_case_outputs: Outputs | None = None
    ood: Mapping[str, Outputs] = field(default_factory=dict)
    """By kind, sorted; kinds are never averaged."""

    @classmethod
    def of(
        cls, outputs: Mapping[str, Outputs], *, extra: ExtraTexts, test_ads: Ads
    ) -> "Material":
        """Sort the outputs of all splits of a job."""
        kinds = sorted(name for name in outputs if name.startswith(OOD_PREFIX))
        return cls(
            splits={name: outputs[name] for name in SPLITS if name in outputs},
            test_ads=test_ads,
            hard_cases=extra.hard_cases,
            hard_case_outputs=outputs.get("hard_cases"),
            ood={name.removeprefix(OOD_PREFIX): outputs[name] for name in kinds},
        )

    @property
    def test(self) -> Outputs:
        """The split that no fit has seen."""
        return self.splits["test"]


def evaluate(
    fitted: FittedModel,
    material: Material,
    *,
    baseline: Baseline | None = None,
    reference: Reference | None = None,
    stack: StackReport | None = None,
    context: Context = Context(),  # noqa: B008 - frozen
) -> Evaluation:
    """Measure the test ads, and what else is given.

    reference: what detectors are fitted on; without it they are not compared.
    """
    test, kinds = material.test, material.ood
    decisions = fitted.decide(test)
    correct_N = decisions.predicted_N == test.labels_N
    p_raw_NC = softmax(test.logits_NC)
    p_NC = softmax(test.logits_NC, fitted.temperature.temperature)
    metrics = classification_metrics(test.labels_N, decisions.predicted_N, fitted.labels)
    detectors = []
    if reference:
        detectors = compare_detectors(fitted, reference, test=test, kinds=kinds)
    evaluation = Evaluation(
        context=context,
        labels=fitted.labels,
        decision=fitted.decision,
        headline=_headline(fitted, material, decisions, metrics),
        baseline=baseline,
        stack=stack,
        per_class=metrics.per_class,
        confusions=_confusions(test, decisions, fitted.labels, material.test_ads.texts),
        reliability_before=reliability_bins(p_raw_NC, test.labels_N),
        reliability_after=reliability_bins(p_NC, test.labels_N),
        curves=class_curves(p_NC, test.labels_N),
        risk_coverage=risk_coverage(decisions.confidence_N, correct_N),
        d2_histograms=histograms(_distances(fitted, material)),
        d2_limit=d2_limit(fitted.decision, fitted.thresholds),
        rules=compare_rules(fitted, test=test, kinds=kinds),
        detectors=detectors,
        recommended=recommended_detector(detectors, fitted.decision),
        slices=_slices(material.test_ads.traits, decisions, correct_N),
        hard_cases=_hard_cases(fitted, material),
        ood_kinds=[
            _ood_kind(fitted, kind, split, decisions) for kind, split in kinds.items()
        ],
        class_limits=class_limits(fitted, decisions),
    )
    return evaluation.model_copy(update={"verdict": verdict(evaluation)})


def _headline(
    fitted: FittedModel,
    material: Material,
    decisions: Decisions,
    metrics: ClassificationMetrics,
) -> Headline:
    test, temperature = material.test, fitted.temperature.temperature
    p_NC = softmax(test.logits_NC, temperature)
    return Headline(
        num_test=len(test.labels_N),
        accuracy=metrics.accuracy,
        macro_f1=metrics.macro_f1,
        temperature=temperature,
        at_bound=fitted.temperature.at_bound,
        nll_before=nll(test.logits_NC, test.labels_N),
        nll_after=nll(test.logits_NC, test.labels_N, temperature),
        ece_before=ece(softmax(test.logits_NC), test.labels_N),
        ece_after=ece(p_NC, test.labels_N),
        ece_by_chance=chance_ece(p_NC),
        mean_d2={
            name: float(_d2(fitted, split).mean())
            for name, split in material.splits.items()
        },
        mean_d2_own_class=_mean_d2_own_class(fitted, material.splits.get("train")),
        threshold=fitted.thresholds.threshold,
        mu=fitted.thresholds.mu,
        sigma=fitted.thresholds.sigma,
        calibrated_on=fitted.calibrated_on,
        num_calibration=len(fitted.thresholds.calibration_d2),
        far_rate=float(decisions.is_far_N.mean()),
        ood_rate=float(decisions.is_ood_N.mean()),
        other_rate=float((decisions.label_N == OTHER).mean()),
    )


def _d2(fitted: FittedModel, outputs: Outputs) -> np.ndarray:
    return fitted.statistics.distance(outputs.cls_NH)[0]


def _distances(fitted: FittedModel, material: Material) -> dict[str, np.ndarray]:
    """Return d2 of each split and of each kind of OOD text."""
    d2 = {name: _d2(fitted, split) for name, split in material.splits.items()}
    return d2 | {
        f"OOD: {kind}": _d2(fitted, split) for kind, split in material.ood.items()
    }


def _mean_d2_own_class(fitted: FittedModel, train: Outputs | None) -> float | None:
    """Return the mean d2 of train to the own class of each ad: H, by the scale of the fit."""
    if train is None:
        return None
    return float(
        fitted.statistics.own_class_distance(train.cls_NH, train.labels_N).mean()
    )


def _confusions(
    test: Outputs, decisions: Decisions, labels: list[str], texts: Sequence[str]
) -> list[Confusion]:
    """List the most frequent mistakes with the ads that the model is most sure of."""
    numbers = {label: number for number, label in enumerate(labels)}
    pairs = confusion_pairs(test.labels_N, decisions.predicted_N, labels, NUM_CONFUSIONS)
    confusions = []
    for pair in pairs:
        true, predicted = numbers[pair.true], numbers[pair.predicted]
        rows = np.flatnonzero(
            (test.labels_N == true) & (decisions.predicted_N == predicted)
        )
        rows = rows[np.argsort(-decisions.confidence_N[rows], kind="stable")]
        examples = _distinct(texts, rows)
        sure = [float(decisions.confidence_N[row]) for row in examples.values()]
        shown = [text[:EXAMPLE_CHARACTERS] for text in examples]
        confusions.append(Confusion(**asdict(pair), examples=shown, confidences=sure))
    return confusions


def _distinct(texts: Sequence[str], rows: np.ndarray) -> dict[str, int]:
    """Return the first different texts of some rows, with their row; no more are asked for."""
    found: dict[str, int] = {}
    for row in rows.tolist():
        if len(found) == EXAMPLES_PER_PAIR:
            break
        found.setdefault(texts[row], row)
    return found


def _slices(
    traits: Mapping[str, Sequence[str]], decisions: Decisions, correct_N: np.ndarray
) -> list[Slice]:
    """Measure each slice of the test ads, by trait, the largest first.

    A trait that all share says nothing.
    """
    slices = []
    for trait, values in traits.items():
        values_N = np.array(values, dtype=object)
        frequent = Counter(values).most_common()
        for value, _ in frequent if len(frequent) > 1 else []:
            rows = values_N == value
            measured = Slice(
                trait=trait,
                value=value,
                num_test=int(rows.sum()),
                accuracy=float(correct_N[rows].mean()),
                confidence=float(decisions.confidence_N[rows].mean()),
                ood_rate=float(decisions.is_ood_N[rows].mean()),
                other_rate=float((decisions.label_N[rows] == OTHER).mean()),
            )
            slices.append(measured)
    return slices


def _hard_cases(fitted: FittedModel, material: Material) -> list[HardCase]:
    outputs = material.hard_case_outputs
    if outputs is None:
        return []
    decisions = fitted.decide(outputs)
    cases = []
    for row, (text, expected) in enumerate(material.hard_cases):
        case = HardCase(
            text=text,
            expected=expected,
            label=str(decisions.label_N[row]),
            best=str(decisions.topk_labels_Nk[row, 0]),
            confidence=float(decisions.confidence_N[row]),
            d2=float(decisions.ood_distance_N[row]),
            is_ood=bool(decisions.is_ood_N[row]),
            ok=bool(decisions.label_N[row] == expected),
        )
        cases.append(case)
    return cases


def _ood_kind(
    fitted: FittedModel, kind: str, outputs: Outputs, test: Decisions
) -> OodKind:
    decisions = fitted.decide(outputs)
    return OodKind(
        kind=kind,
        num_texts=len(decisions.is_ood_N),
        flagged=float(decisions.is_ood_N.mean()),
        caught=float((decisions.label_N == OTHER).mean()),
        roc=ood_roc(test.ood_distance_N, decisions.ood_distance_N),
    )

"""Choose the thresholds of the decision for a stated target.

On labelled ads and perhaps on OOD texts, every combination of three things is tried: how far is far
(the strength of the rule), the confidence gate, and tau_other. Without OOD texts only tau_other:
nothing then speaks for flagging anything. An ad is kept when it gets one of the classes; OOD texts
should not be kept. Shapes: N ads, C classes, T values of tau_other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.ood.decision import OTHER, Decisions, is_far, p_limit
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DecisionSettings

TAUS_T = np.round(np.arange(0.0, 1.0, 0.01), 2)
GATES = (0.0, *np.round(np.arange(0.3, 1.0, 0.05), 2).tolist(), 0.99, 1.01)
"""0 flags nothing, 1.01 has no gate."""
FAR_SHARES = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2)
"""Share of the calibration ads that the rule calls far."""


@dataclass(frozen=True)
class Measures:
    """What a decision reaches."""

    precision: float | None
    """Right over kept, OOD texts among the kept; None where nothing is kept."""
    precision_low: float | None
    """Lower end of its 95 % interval (Wilson)."""
    coverage: float
    """Share of the ads that are kept."""
    accuracy: float
    """Share of the ads that is kept and right."""
    macro_f1: float
    """Over the classes, and over Other if there are OOD texts."""
    ood_kept: float | None
    """Share of the OOD texts that get one of the classes."""


@dataclass(frozen=True)
class Curves:
    """What each tau_other gives, (T,)."""

    kept_T: np.ndarray
    """Ads and OOD texts that get one of the classes."""
    right_T: np.ndarray
    """Those of them that get the right one."""
    precision_T: np.ndarray
    coverage_T: np.ndarray
    macro_f1_T: np.ndarray


@dataclass(frozen=True)
class _Best:
    """The best tau_other of some settings."""

    rank: tuple[float, float, float]
    settings: DecisionSettings


def choose_decision(
    model: FittedModel,
    ads: Outputs,
    ood: Outputs | None,
    *,
    min_precision: float | None,
    max_share: float = 1.0,
) -> DecisionSettings:
    """Return the settings of the largest coverage at such a min_precision.

    Without one those of the largest macro-F1. No strength of the rule is tried that calls more
    than max_share of the calibration ads far. The rule stays the model's own. On ties the largest
    coverage, then the smallest tau_other. Raises PublicationRefusedError when no combination
    reaches min_precision, on 1 / (1 - min_precision) kept ads at least.
    """
    best: _Best | None = None
    best_precision = 0.0
    decided = decide_both(model, ads, ood)
    for settings in candidates(model, max_share) if ood is not None else [model.decision]:
        curves = count_curves(model, settings, ads.labels_N, *decided, TAUS_T)
        enough_T = curves.kept_T >= ads_needed(min_precision)
        best_precision = max(
            best_precision, float(curves.precision_T[enough_T].max(initial=0.0))
        )
        found = _best_tau(settings, curves, min_precision)
        if found and (best is None or found.rank > best.rank):
            best = found
    if best is None:
        raise PublicationRefusedError(
            f"min_precision: no threshold reaches {min_precision:g} on at"
            f" least {ads_needed(min_precision):,} kept ads (best:"
            f" {best_precision:.4f}). Lower min_precision, add ads, or"
            " train a better model"
        )
    return best.settings


def _best_tau(
    settings: DecisionSettings, curves: Curves, min_precision: float | None
) -> _Best | None:
    """Return the settings with their best tau_other; None where none reaches min_precision."""
    values_T = curves.macro_f1_T
    if min_precision is not None:
        enough_T = curves.kept_T >= ads_needed(min_precision)
        reached_T = enough_T & (curves.precision_T >= min_precision)
        values_T = np.where(reached_T, curves.coverage_T, -1.0)
    row = int(np.lexsort((TAUS_T, -curves.coverage_T, -values_T))[0])
    if values_T[row] < 0:
        return None
    rank = (float(values_T[row]), float(curves.coverage_T[row]), -float(TAUS_T[row]))
    return _Best(rank, settings.model_copy(update={"tau_other": float(TAUS_T[row])}))


def ads_needed(min_precision: float | None) -> int:
    """Return how many ads must be kept.

    Among fewer, a share of 1 that is right is mere chance and one mistake breaks the promise.
    """
    return 1 if min_precision is None else math.ceil(round(1 / (1 - min_precision), 6))


def measure(model: FittedModel, ads: Outputs, ood: Outputs | None) -> Measures:
    """Measure the decision of a model on ads, and on OOD texts where there are some."""
    decisions, decisions_of_ood = decide_both(model, ads, ood)
    kept_N = decisions.label_N != OTHER
    right = int((kept_N & (decisions.predicted_N == ads.labels_N)).sum())
    ood_kept = 0
    if decisions_of_ood is not None:
        ood_kept = int((decisions_of_ood.label_N != OTHER).sum())
    kept = int(kept_N.sum()) + ood_kept
    interval = binomtest(right, kept).proportion_ci(method="wilson") if kept else None
    taus_T = np.array([model.decision.tau_other])
    curves = count_curves(
        model, model.decision, ads.labels_N, decisions, decisions_of_ood, taus_T
    )
    return Measures(
        precision=right / kept if kept else None,
        precision_low=float(interval.low) if interval else None,
        coverage=float(kept_N.mean()),
        accuracy=right / len(ads),
        macro_f1=float(curves.macro_f1_T[0]),
        ood_kept=ood_kept / len(ood) if ood else None,
    )


def candidates(model: FittedModel, max_share: float = 1.0) -> Iterator[DecisionSettings]:
    """Yield every strength of the rule up to max_share with every confidence gate.

    Where nothing is flagged the strength says nothing.
    """
    decision = model.decision
    yield decision
    strengths = [
        _strength(model, share)
        for share in FAR_SHARES
        if share * len(model.thresholds.calibration_d2) >= 1 and share <= max_share
    ]
    for strength in [{}, *strengths]:  # the present one as well
        for gate in GATES[1:]:
            yield decision.model_copy(update=strength | {"ood_conf_gate": gate})
    # last: on a tie something is flagged
    yield decision.model_copy(update={"ood_conf_gate": GATES[0]})


def _strength(model: FittedModel, share: float) -> dict[str, float]:
    """Return the settings by which about this share of the calibration ads is far."""
    if model.decision.rule == "conformal":
        return {"conformal_alpha": share}
    thresholds = model.thresholds
    limit = float(np.quantile(thresholds.calibration_d2, 1 - share))
    # both conditions of the rule become the same limit
    return {
        "alpha": limit / thresholds.threshold,
        "z_thr": (
            (limit - thresholds.mu) / thresholds.sigma
            if thresholds.sigma
            else model.decision.z_thr
        ),
    }


def decide_both(
    model: FittedModel, ads: Outputs, ood: Outputs | None
) -> tuple[Decisions, Decisions | None]:
    """Decide on both once: what the settings change follows from distances and confidences."""
    ours = model.decide(ads)
    return ours, None if ood is None else model.decide(ood)


def count_curves(
    model: FittedModel,
    settings: DecisionSettings,
    labels_N: np.ndarray,
    ads: Decisions,
    ood: Decisions | None,
    taus_T: np.ndarray,
) -> Curves:
    """Count, for every tau_other at once, what is kept and what of it is right."""
    num_classes, num_ads = len(model.labels), len(labels_N)
    in_domain_N = ~_is_ood(model, settings, ads)
    kept_TC = _kept(ads, in_domain_N, taus_T, num_classes)
    right_TC = _kept(
        ads, in_domain_N & (ads.predicted_N == labels_N), taus_T, num_classes
    )
    support_C = np.bincount(labels_N, minlength=num_classes)
    kept_ads_T, all_kept_TC = kept_TC.sum(axis=1), kept_TC
    if ood is not None:
        all_kept_TC = kept_TC + _kept(
            ood, ~_is_ood(model, settings, ood), taus_T, num_classes
        )
    f1_TC = _f1(right_TC, all_kept_TC, support_C)
    occurs_TC = (all_kept_TC > 0) | (support_C > 0)
    sum_T, count_T = np.where(occurs_TC, f1_TC, 0).sum(axis=1), occurs_TC.sum(axis=1)
    all_kept_T = all_kept_TC.sum(axis=1)
    if ood is not None:
        num_ood = len(ood.predicted_N)
        ood_out_T = num_ood - (all_kept_T - kept_ads_T)
        out_T = num_ads + num_ood - all_kept_T
        sum_T, count_T = sum_T + _f1(ood_out_T, out_T, np.array(num_ood)), count_T + 1
    right_T = right_TC.sum(axis=1)
    precision_T = np.divide(
        right_T, all_kept_T, out=np.zeros(len(taus_T)), where=all_kept_T > 0
    )
    return Curves(
        all_kept_T,
        right_T,
        precision_T,
        kept_ads_T / num_ads,
        sum_T / np.maximum(count_T, 1),
    )


def _is_ood(
    model: FittedModel, settings: DecisionSettings, decisions: Decisions
) -> np.ndarray:
    """Say what these settings would have flagged."""
    measures = decisions.ood_distance_N, decisions.ood_z_N, decisions.ood_p_N
    thresholds = model.thresholds
    far_N = is_far(
        *measures,
        p_limit=p_limit(thresholds, settings, decisions.predicted_N),
        threshold=thresholds.threshold,
        settings=settings,
    )
    return far_N & (decisions.confidence_N < settings.ood_conf_gate)


def _kept(
    decisions: Decisions, mask_N: np.ndarray, taus_T: np.ndarray, num_classes: int
) -> np.ndarray:
    """Count the masked ads with confidence >= tau by class: int64 (T, C); taus_T ascend."""
    # taus that the ad passes: the first so many
    passed_N = np.searchsorted(taus_T, decisions.confidence_N[mask_N], side="right")
    cells = passed_N * num_classes + decisions.predicted_N[mask_N]
    counts = np.bincount(cells, minlength=(len(taus_T) + 1) * num_classes).reshape(
        -1, num_classes
    )
    return np.asarray(counts[::-1].cumsum(axis=0)[::-1][1:])


def _f1(right: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> np.ndarray:
    total = predicted + support
    return np.divide(2 * right, total, out=np.zeros(np.shape(total)), where=total > 0)

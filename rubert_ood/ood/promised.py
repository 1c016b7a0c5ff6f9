"""Choose the thresholds whose share of right labels can be promised, not only measured.

Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021, arXiv 2110.01052): each value of
tau_other is a hypothesis, "of the ads that it keeps fewer than min_precision are right", tested
by exact binomial p-values in a fixed sequence. The last one that is rejected is chosen; all that
were rejected keep the promise at once, with the stated confidence.

Why that is valid for a share whose denominator is random: condition on which rows a threshold
keeps. Whether a row is kept depends on its text alone, so that of k kept rows, drawn independently,
the wrong ones are Bin(k, 1 - precision of the threshold), whatever k is. The p-value holds for each
k, and so on average over k. Two sets of rows keep everything else apart:

- rows that order: they fit T and the d2 threshold, and choose the rule's strength, the confidence
  gate, and the tau_other from which the sequence goes on to looser ones. The strictest of all would
  keep too few rows to show anything, and end the sequence at once.
- rows that test: nothing was fitted or chosen on them, and no ad of them trained the network or the
  statistics. Both sets are random halves; a split by class would tie one to the other.

OOD texts count as wrong where they are kept, in the mix in which they stand beside the ads.

Shapes: T values of tau_other, the strictest first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.ood.decision import Decisions
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.promise import Promise, last_rejected, p_value, rows_needed
from rubert_ood.ood.tuning import TAUS_T, candidates, count_curves, decide_both
from rubert_ood.settings import DecisionSettings

STRICTEST_FIRST_T = TAUS_T[::-1]
NUM_HALVES = 2
"""Labelled ads are cut into as many parts, of which one tests."""


@dataclass(frozen=True)
class Rows:
    """Labelled ads, and OOD texts where there are some."""

    ads: Outputs
    ood: Outputs | None


@dataclass(frozen=True)
class Target:
    """What is to be promised."""

    min_precision: float
    confidence: float
    risk: float
    """What of 1 - confidence this promise may use up."""


@dataclass(frozen=True)
class _Counts:
    """What each tau_other keeps of some rows, (T,)."""

    kept_T: NDArray[np.int64]
    wrong_T: NDArray[np.int64]
    coverage_T: NDArray[np.float64]

    def p_T(self, target: Target) -> NDArray[np.float64]:
        return p_value(self.wrong_T, self.kept_T, 1 - target.min_precision)


@dataclass(frozen=True)
class _Sequence:
    """Hypotheses in the order in which they are tested: the looser ones from `start` on."""

    settings: DecisionSettings
    start: int
    rank: tuple[float, float]
    """Of sequences, by the rows that order: the larger, the better."""


def promise_precision(
    model: FittedModel, order: Rows, test: Rows, target: Target, max_share: float = 1.0
) -> tuple[DecisionSettings, Promise]:
    """Return the loosest settings found whose precision is promised, and the promise.

    max_share: as in `choose_decision`. Raises PublicationRefusedError where none can be promised;
    it says how many ads would do.
    """
    sequence = _best_sequence(model, order, target, max_share)
    decided = decide_both(model, test.ads, test.ood)
    counts = _counts(model, sequence.settings, test.ads.labels_N, decided)
    p_T = counts.p_T(target)
    last = last_rejected(p_T, sequence.start, target.risk)
    if last is None:
        raise _refusal(counts, int(np.argmin(p_T)), target, len(test.ads))
    tau = float(STRICTEST_FIRST_T[last])
    promise = Promise(
        kind="precision",
        level=target.min_precision,
        confidence=target.confidence,
        num_rows=int(counts.kept_T[last]),
        num_against=int(counts.wrong_T[last]),
    )
    return sequence.settings.model_copy(update={"tau_other": tau}), promise


def ads_for(num_wrong: int, num_kept: int, num_ads: int, target: Target) -> int | None:
    """Return about how many labelled ads a promise needs, where so many of num_ads test it.

    In 4 of 5 draws it is then found, if shares stay as they are here; None where no number would
    do, or where nothing is kept.
    """
    if num_kept == 0:
        return None
    seen = num_wrong / num_kept
    needed = rows_needed(1 - target.min_precision, seen, target.risk)
    if needed is None:
        return None
    return NUM_HALVES * int(np.ceil(needed * num_ads / num_kept))


def _best_sequence(
    model: FittedModel, order: Rows, target: Target, max_share: float
) -> _Sequence:
    """Find what promises the largest coverage on the rows that order.

    It starts at the tau_other that they show best.
    """
    is_alone = order.ood is None
    decided = decide_both(model, order.ads, order.ood)
    found = []
    for settings in [model.decision] if is_alone else candidates(model, max_share):
        counts = _counts(model, settings, order.ads.labels_N, decided)
        p_T = counts.p_T(target)
        start = int(np.argmin(p_T))
        last = last_rejected(p_T, start, target.risk)
        coverage = -1.0 if last is None else float(counts.coverage_T[last])
        found.append(_Sequence(settings, start, (coverage, -float(p_T[start]))))
    return max(found, key=lambda sequence: sequence.rank)


def _counts(
    model: FittedModel,
    settings: DecisionSettings,
    labels_N: np.ndarray,
    decided: tuple[Decisions, Decisions | None],
) -> _Counts:
    curves = count_curves(model, settings, labels_N, *decided, TAUS_T)
    wrong_T = curves.kept_T - curves.right_T
    return _Counts(curves.kept_T[::-1], wrong_T[::-1], curves.coverage_T[::-1])


def _refusal(
    counts: _Counts, best: int, target: Target, num_ads: int
) -> PublicationRefusedError:
    """Say how near the best threshold comes, and what would help."""
    kept, wrong = int(counts.kept_T[best]), int(counts.wrong_T[best])
    needed = ads_for(wrong, kept, num_ads, target)
    seen = 1 - wrong / kept if kept else 0.0
    advice = "Lower min_precision, or train a better model"
    if needed is not None:
        advice = (
            f"At this precision it needs about {needed:,} labelled ads in all."
            " Add ads, or lower min_precision"
        )
    return PublicationRefusedError(
        f"min_precision: no threshold can be promised {target.min_precision:g} with"
        f" confidence {target.confidence:g}. The best has {seen:.4f} on"
        f" {kept:,} kept ads. {advice}"
    )

"""The promises of a tuning: which rows may test them, what is chosen, how many ads they need.

The half of the labelled ads that fits T and d2 also bounds how many ordinary ads are far, and
orders what is tested for precision; the other half tests precision, and had no say in anything.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ads.extra_texts import ExtraTexts
from rubert_ood.errors import SettingsError
from rubert_ood.ood.decision import p_limit
from rubert_ood.ood.detectors import COMBINED
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.promise import Promise, least_rows, most_allowed
from rubert_ood.ood.promised import NUM_HALVES, Rows, Target, ads_for, promise_precision
from rubert_ood.ood.tuning import Measures, choose_decision
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.settings import DecisionSettings, TuneSettings
from rubert_ood.training.tuning import join_ood

log = StepLog("promise")

USUAL_CONFIDENCE = 0.95
"""Of the promise whose need is told where none is asked for."""


def each_text_once(ads: LabelledAds, extra: ExtraTexts) -> tuple[LabelledAds, ExtraTexts]:
    """Keep the first of the ads, and of the OOD texts of all kinds, that have the same text.

    Re-posts are not drawn independently: one text in both halves would test what it has chosen.
    """
    found = ads.take(_first_of_each(ads.texts))
    num_dropped = len(ads) - len(found)
    splits, seen = {}, set[str]()
    for name, split in extra.splits.items():
        kept = split
        if name.startswith("ood/"):
            kept = split.take(_first_of_each(split.texts, seen))
            seen.update(split.texts)
            num_dropped += len(split) - len(kept)
        if len(kept):
            splits[name] = kept
    if num_dropped:
        log.warning(
            "counts each text once: leaves out %s with the text of another",
            count_of(num_dropped, "row"),
        )
    return found, replace(extra, splits=splits)


def _first_of_each(texts: list[str], seen: Collection[str] = ()) -> np.ndarray:
    """Return the rows, ascending, whose text stands in no row before, and is not `seen`."""
    rows = {text: row for row, text in reversed(list(enumerate(texts)))}
    first = [row for text, row in rows.items() if text not in seen]
    return np.array(sorted(first), np.int64)


def promised_rule(
    decision: DecisionSettings, settings: TuneSettings, num_calibration: int
) -> DecisionSettings:
    """Return the rule with the conformal_alpha that keeps max_flagged on so many ads.

    Far are ads beyond the (m + 1)-th largest of n calibration distances, where m is the most that
    the exact binomial bound allows: P(Bin(n, max_flagged) <= m) <= risk. Then the share of ordinary
    ads beyond it is more than max_flagged with at most that probability, over draws of the n
    (Vovk 2012, Conditional validity of inductive conformal predictors, proposition 2). What is
    flagged is far, so its share is smaller still. Raises SettingsError on another rule, or on fewer
    ads than can show it.
    """
    limit = settings.max_flagged
    if limit is None:
        return decision
    if decision.rule != "conformal":
        raise SettingsError(
            f"max_flagged: this needs the conformal rule, and the bundle has the"
            f" {decision.rule} rule. Pass rule conformal as well"
        )
    if decision.detector in COMBINED:
        raise SettingsError(
            f"max_flagged: a promise is not proven for the detector {decision.detector},"
            " whose score ranks among the same ads. Choose a single detector, such as energy"
        )
    allowed = most_allowed(num_calibration, limit, settings.risk)
    if allowed < 0:
        needed = NUM_HALVES * least_rows(limit, settings.risk)
        raise SettingsError(
            f"max_flagged: {limit:g} with confidence {settings.confidence:g} needs at"
            f" least {needed:,} labelled ads, half of which are {num_calibration:,} here."
            " Add ads, or raise max_flagged"
        )
    alpha = (1 + allowed) / (1 + num_calibration)
    return decision.model_copy(update={"conformal_alpha": alpha})


def rows_to_choose_on(
    outputs: Mapping[str, Outputs], settings: TuneSettings
) -> tuple[Rows, Rows]:
    """Return the rows that order what is tested, and those that test it or choose.

    Where precision is promised, each has half of the OOD texts; else all choose.
    """
    ood = join_ood(outputs)
    if ood is None or not (settings.confidence and settings.min_precision):
        return Rows(outputs["calibration"], ood), Rows(outputs["test"], ood)
    shuffled = np.random.default_rng(settings.seed).permutation(len(ood))
    order, test = np.array_split(shuffled, NUM_HALVES)
    return (
        Rows(outputs["calibration"], ood.take(np.sort(order))),
        Rows(outputs["test"], ood.take(np.sort(test))),
    )


def choose(
    fitted: FittedModel, order: Rows, test: Rows, settings: TuneSettings
) -> FittedModel:
    """Return the model with the settings that reach the targets, and with what it promises.

    Raises PublicationRefusedError where a target is out of reach, or cannot be promised.
    """
    promises, max_share = [], 1.0
    if settings.max_flagged is not None and settings.confidence is not None:
        promises.append(
            _flagged(fitted, order.ads, settings.max_flagged, settings.confidence)
        )
        max_share = fitted.decision.conformal_alpha
    if settings.per_class:
        max_share = 0.0  # the limits stand: no other strength is tried
    target = _target(settings)
    if target is None or settings.confidence is None:
        chosen = choose_decision(
            fitted,
            test.ads,
            test.ood,
            min_precision=settings.min_precision,
            max_share=max_share,
        )
    else:
        chosen, promise = promise_precision(fitted, order, test, target, max_share)
        promises.append(promise)
    return replace(fitted, decision=chosen, promises=tuple(promises))


def _target(settings: TuneSettings) -> Target | None:
    """Return the precision to promise, or to speak of; None without one."""
    if settings.min_precision is None:
        return None
    confidence = settings.confidence or USUAL_CONFIDENCE
    risk = settings.risk if settings.confidence else 1 - USUAL_CONFIDENCE
    return Target(settings.min_precision, confidence, risk)


def _flagged(
    fitted: FittedModel, calibration: Outputs, level: float, confidence: float
) -> Promise:
    decided = fitted.decide(calibration)
    by_class = fitted.thresholds.by_class
    limit = p_limit(fitted.thresholds, fitted.decision, decided.predicted_N)
    return Promise(
        kind="flagged" if by_class is None else "flagged_per_class",
        level=level,
        confidence=confidence,
        num_rows=len(calibration),
        num_against=int((fitted.p_of_calibration(calibration) <= limit).sum()),
    )


def ads_needed(
    settings: TuneSettings, reached: Measures, test: Rows
) -> dict[str, int | None]:
    """Return by target about how many labelled ads a promise of it needs in all.

    None where no number would do, because what was reached is worse than the target.
    """
    needed: dict[str, int | None] = {}
    target = _target(settings)
    if target is not None:
        num_ads = len(test.ads)
        num_ood = len(test.ood) if test.ood else 0
        kept = round(reached.coverage * num_ads) + round(
            (reached.ood_kept or 0) * num_ood
        )
        wrong = round(kept * (1 - (reached.precision or 0)))
        needed["min_precision"] = ads_for(wrong, kept, num_ads, target)
    if settings.max_flagged is not None:
        least = least_rows(settings.max_flagged, settings.risk)
        needed["max_flagged"] = NUM_HALVES * least
    return needed

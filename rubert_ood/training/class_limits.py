"""Limits of the classes of a tuning: which classes are pooled, and what each limit keeps.

The shares of the classes among the train ads, which a bundle keeps a sample of, decide what is
pooled: they know nothing of the ads that the limits are made from.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from rubert_ood.bundle import Bundle
from rubert_ood.errors import BundleError, SettingsError
from rubert_ood.ood.class_limits import (
    SLACK,
    conformal_allowed,
    fit_class_limits,
    num_groups,
    pooled_classes,
)
from rubert_ood.ood.decision import rows_for
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.promise import least_rows, most_allowed
from rubert_ood.ood.reference import Reference
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.settings import DecisionSettings, TuneSettings

log = StepLog("classes")


def train_shares(bundle: Bundle, reference: Reference | None) -> np.ndarray:
    """Return the share of each class among the train ads, (C,).

    reference: what the bundle keeps of them. Raises BundleError where that is nothing.
    """
    if reference is None:
        raise BundleError(
            f"{bundle.uri}: per_class needs reference.safetensors, which this bundle"
            " lacks. Train it again"
        )
    num_classes = len(bundle.fitted.labels)
    counts_C = np.bincount(reference.train.labels_N, minlength=num_classes)
    return counts_C / counts_C.sum()


def with_class_limits(
    fitted: FittedModel,
    calibration: Outputs,
    shares_C: np.ndarray,
    settings: TuneSettings,
) -> FittedModel:
    """Return the model with limits by class, made from the ads that fitted T and d2.

    Raises SettingsError where no class has the ads that a limit of its own needs.
    """
    if fitted.decision.rule != "conformal":
        raise SettingsError(
            f"per_class: this needs the conformal rule, and the bundle has the"
            f" {fitted.decision.rule} rule. Pass rule conformal as well"
        )
    needed = _needed(settings, fitted.decision, len(shares_C))
    is_pooled_C = pooled_classes(shares_C * len(calibration), needed)
    if is_pooled_C.all():
        raise SettingsError(
            "per_class: no class is large enough for a limit of its own. It needs"
            f" {int(np.ceil(SLACK * needed)):,} of the {len(calibration):,} ads in one"
            " half. Add ads, or leave per_class out"
        )
    decided = fitted.decide(calibration)
    if settings.max_flagged is None:
        allowed = partial(conformal_allowed, alpha=fitted.decision.conformal_alpha)
    else:
        risk = settings.risk / num_groups(is_pooled_C)
        allowed = partial(most_allowed, limit=settings.max_flagged, risk=risk)
    p_N = fitted.p_of_calibration(calibration)
    limits = fit_class_limits(p_N, decided.predicted_N, is_pooled_C, allowed)
    thresholds = replace(fitted.thresholds, by_class=limits)
    return replace(fitted, thresholds=thresholds)


def say_class_limits(fitted: FittedModel) -> None:
    """Log which classes have a limit of their own, which are pooled, and which flag nothing."""
    limits = fitted.thresholds.by_class
    if limits is None:
        return
    names_C = np.array(fitted.labels, dtype=object)
    own = count_of(int((~limits.is_pooled_C).sum()), "class", "classes")
    log.info("%s with a limit of their own", own)
    pooled = ", ".join(names_C[limits.is_pooled_C])
    if pooled:
        rows = count_of(int(limits.num_rows_C[limits.is_pooled_C].sum()), "ad")
        log.info("classes that share a limit, with %s together: %s", rows, pooled)
    silent = ", ".join(names_C[limits.alpha_C == 0])
    if silent:
        log.warning(
            "no ad is ever far of these classes, which have too few ads: %s. Add ads"
            " of them",
            silent,
        )


def _needed(settings: TuneSettings, decision: DecisionSettings, num_classes: int) -> int:
    """Return the rows without which the limit of a class can call nothing far."""
    if settings.max_flagged is None:
        return rows_for(decision.conformal_alpha)
    return least_rows(settings.max_flagged, settings.risk / num_classes)

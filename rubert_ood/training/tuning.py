"""The ads that a tuning is done on: one half fits T and the thresholds, the other half chooses.

Shapes: N ads.
"""

from collections.abc import Mapping

import numpy as np

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.bundle import Bundle, load_reference
from rubert_ood.bundle.reference import REFERENCE
from rubert_ood.errors import BundleError, InputError, SettingsError
from rubert_ood.ood.detectors import needs_tokens
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.promise import least_rows
from rubert_ood.ood.reference import Reference
from rubert_ood.ood.tuning import ads_needed
from rubert_ood.settings import DecisionSettings, DetectorName, TuneSettings

MIN_ADS = 100
"""Half of them fits T and thresholds, half chooses: with fewer, both are chance."""


def halves(ads: LabelledAds, settings: TuneSettings) -> dict[str, LabelledAds]:
    """Cut the ads in two, `calibration` and `test`, stratified where every class has two of them.

    At random where something is promised: a split by class would tie the half that tests to the
    half that chooses. Raises InputError on too few.
    """
    from sklearn.model_selection import train_test_split

    if len(ads) < MIN_ADS:
        raise InputError(
            f"{settings.input_uri}: tuning needs at least {MIN_ADS} ads with text,"
            f" and there are {len(ads)}. Add more"
        )
    counts = np.unique(ads.labels_N, return_counts=True)[1]
    can_stratify = counts.min() > 1 and len(counts) <= len(ads) // 2
    calibration, test = train_test_split(
        np.arange(len(ads)),
        test_size=0.5,
        random_state=settings.seed,
        stratify=ads.labels_N if can_stratify and not settings.confidence else None,
    )
    return {"calibration": ads.take(calibration), "test": ads.take(test)}


def starting_decision(now: DecisionSettings, settings: TuneSettings) -> DecisionSettings:
    """Return the decision of a bundle with the rule and the detector that the settings name.

    Of one alone the other follows: the notebook rule is Mahalanobis's, other detectors have the
    conformal one. Raises SettingsError where both are given and do not fit.
    """
    rule, detector = settings.rule, settings.detector
    if rule == "notebook" and detector is None:
        detector = "mahalanobis"
    if rule is None and detector not in (None, "mahalanobis"):
        rule = "conformal"
    values = now.model_dump()
    values |= {"rule": rule or now.rule, "detector": detector or now.detector}
    return DecisionSettings(**values)


def reference_for(bundle: Bundle, detector: DetectorName) -> Reference | None:
    """Return the features that a bundle keeps; None if it was written without.

    Raises BundleError where the detector is fitted on them.
    """
    found = load_reference(bundle)
    if found is None and detector != "mahalanobis":
        raise BundleError(
            f"{bundle.uri}: {REFERENCE} is missing, and the detector {detector}"
            " is fitted on it. Train a new bundle, or set the detector to mahalanobis"
        )
    if found is not None and needs_tokens(detector) and found.train.tokens_NH is None:
        raise BundleError(
            f"{bundle.uri}: {REFERENCE} of an older version has no token means, which"
            f" the detector {detector} is fitted on. Train a new bundle, or set another"
            " detector"
        )
    return found


def check_target(settings: TuneSettings, num_texts: int) -> None:
    """Raise SettingsError when so few texts cannot show such a min_precision.

    To promise it, even all of them right would have to be enough.
    """
    needed = ads_needed(settings.min_precision)
    if settings.min_precision and settings.confidence:
        needed = least_rows(1 - settings.min_precision, settings.risk)
    if needed > num_texts:
        raise SettingsError(
            f"min_precision: {settings.min_precision} needs at least"
            f" {needed:,} ads to choose on, and there are {num_texts:,}."
            " Add more ads, or a lower target"
        )


def join_ood(outputs: Mapping[str, Outputs]) -> Outputs | None:
    """Join the OOD texts of all kinds: each text counts once in precision and macro-F1."""
    kinds = [split for name, split in outputs.items() if name.startswith("ood/")]
    if not kinds:
        return None
    return Outputs.concat(kinds)

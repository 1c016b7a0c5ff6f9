"""From features to a fitted model: of the train rows only sums and a sample are looked at."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from rubert_ood.ads.dataset import Ads, Dataset
from rubert_ood.ood.fit import CalibratedOn, FittedModel, fit
from rubert_ood.ood.ledoit_wolf import ClassSums, ResidualSums, statistics_of
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs, sample_rows
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.settings import DecisionSettings, FitSettings
from rubert_ood.training.features import Features

log = StepLog("fit")

MAX_MEASURED_ADS = 40_000
"""Of a split: an accuracy is known to 0.2 points then, a quantile of 0.995 to 0.0004."""
FEW_ADS = 10
"""A class mean of fewer train ads says little about where its next ad will lie."""


def measured_splits(dataset: Dataset) -> Dataset:
    """Return the dataset with at most MAX_MEASURED_ADS of each split but train: a seeded sample.

    What is measured or fitted on the outputs of a split comes to the driver.
    """
    chosen = {}
    for name in ("valid", "test", "calibration"):
        ads = getattr(dataset, name)
        if ads is None:
            continue
        chosen[name] = ads.take(sample_rows(len(ads), MAX_MEASURED_ADS))
        if len(chosen[name]) < len(ads):
            log.info(
                f"measures a sample of {name}: {MAX_MEASURED_ADS:,} of {len(ads):,} ads"
            )
    return replace(dataset, **chosen)


def fitting_splits(dataset: Dataset) -> dict[str, Ads]:
    """Return the splits that are fitted on."""
    splits = {"train": dataset.train, "valid": dataset.valid}
    if dataset.calibration is not None:
        splits["calibration"] = dataset.calibration
    return splits


def fit_statistics(features: Features, labels: list[str]) -> MahalanobisStatistics:
    """Fit the Mahalanobis statistics on the split `train`, in two passes.

    The driver holds O(C*H + H^2) numbers.
    """
    sums = features.sum_up("train", partial(ClassSums.of, num_classes=len(labels)))
    means_CH = sums.means()
    few = [labels[number] for number in np.flatnonzero(sums.counts_C < FEW_ADS)]
    if few:
        log.warning(
            "fits %s on fewer than %d training ads each: %s",
            count_of(len(few), "class", "classes"),
            FEW_ADS,
            ", ".join(few[:5]),
        )
    residuals = features.sum_up("train", partial(ResidualSums.of, means_CH=means_CH))
    return statistics_of(means_CH, residuals)


def fit_features(
    features: Features,
    outputs: Mapping[str, Outputs],
    labels: list[str],
    *,
    settings: FitSettings,
    decision: DecisionSettings,
) -> FittedModel:
    """Fit everything: statistics on train, T and thresholds on `calibration`, else `valid`."""
    rows: CalibratedOn = "calibration" if "calibration" in outputs else "valid"
    return fit(
        fit_statistics(features, labels),
        outputs[rows],
        labels=labels,
        settings=settings,
        decision=decision,
        calibrated_on=rows,
        train=outputs.get("train"),
    )


def log_fit(fitted: FittedModel, precision: str) -> None:
    """Say T and thresholds, and on which split they were fitted."""
    temperature, thresholds = fitted.temperature, fitted.thresholds
    at_bound = " at its bound" if temperature.at_bound else ""
    log.info(
        f"T {temperature.temperature:.3f}{at_bound}  d2 threshold {thresholds.threshold:,.1f}"
        f"  {fitted.calibrated_on} d2 {thresholds.mu:,.1f} +- {thresholds.sigma:,.1f}"
        f"  in {precision}"
    )

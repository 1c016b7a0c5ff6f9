"""From stored features to a fitted model: the train rows stay in the object store, only sums of
them are looked at."""

import logging
from collections.abc import Mapping
from functools import partial

import numpy as np

from rubert_ood.ood.fit import CalibratedOn, FittedModel, fit
from rubert_ood.ood.ledoit_wolf import ClassSums, ResidualSums, statistics_of
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DecisionSettings, FitSettings
from rubert_ood.training.features import StoredFeatures

log = logging.getLogger(__name__)

FEW_ADS = 10
"""A class mean of fewer train ads says little about where its next ad will lie."""


def fit_statistics(features: StoredFeatures, labels: list[str]) -> MahalanobisStatistics:
    """Fit the Mahalanobis statistics on the part `train`, in two passes; the driver holds O(C*H +
    H^2) numbers."""
    sums = features.sum_up("train", partial(ClassSums.of, num_classes=len(labels)))
    means_CH = sums.means()
    few = [labels[number] for number in np.flatnonzero(sums.counts_C < FEW_ADS)]
    if few:
        log.warning(
            "fit       %d class(es) have fewer than %d train ads: %s",
            len(few),
            FEW_ADS,
            ", ".join(few[:5]),
        )
    return statistics_of(
        means_CH, features.sum_up("train", partial(ResidualSums.of, means_CH=means_CH))
    )


def fit_features(
    features: StoredFeatures,
    outputs: Mapping[str, Outputs],
    labels: list[str],
    *,
    settings: FitSettings,
    decision: DecisionSettings,
) -> FittedModel:
    """Fit everything: statistics on train, T and thresholds on `calibration`, or on `valid` where
    there is none."""
    rows: CalibratedOn = "calibration" if "calibration" in outputs else "valid"
    return fit(
        fit_statistics(features, labels),
        outputs[rows],
        labels=labels,
        settings=settings,
        decision=decision,
        calibrated_on=rows,
    )

"""Everything that is fitted on features, and what it decides.

Shapes: N ads, C classes, H hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rubert_ood.ood.decision import (
    Decisions,
    Thresholds,
    TopClasses,
    check_rule,
    decide,
    decide_on,
    fit_thresholds,
)
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.promise import Promise
from rubert_ood.ood.temperature import TemperatureFit, fit_temperature
from rubert_ood.settings import DecisionSettings, FitSettings

CalibratedOn = Literal["valid", "calibration"]


@dataclass(frozen=True)
class FittedModel:
    """All that decides on the outputs of a network."""

    labels: list[str]
    temperature: TemperatureFit
    statistics: MahalanobisStatistics
    thresholds: Thresholds
    decision: DecisionSettings
    calibrated_on: CalibratedOn = "valid"
    """The rows of T and thresholds: valid, which chose the checkpoint as well, or rows of their
    own."""
    promises: tuple[Promise, ...] = ()
    """What the decision promises; all of it holds at once, with the confidence that each names."""

    def decide(self, logits_NC: np.ndarray, cls_NH: np.ndarray) -> Decisions:
        """Return class, confidence and OOD verdict of logits (N, C) and CLS (N, H)."""
        return decide(
            logits_NC,
            cls_NH,
            labels=self.labels,
            temperature=self.temperature.temperature,
            statistics=self.statistics,
            thresholds=self.thresholds,
            settings=self.decision,
        )

    def decide_on(self, top: TopClasses, d2_N: np.ndarray) -> Decisions:
        """Return the same of the best classes and d2 of each ad, wherever they were computed."""
        return decide_on(
            top,
            d2_N,
            labels=self.labels,
            thresholds=self.thresholds,
            settings=self.decision,
        )


def fit(
    statistics: MahalanobisStatistics,
    calibration: Outputs,
    *,
    labels: Sequence[str],
    settings: FitSettings,
    decision: DecisionSettings,
    calibrated_on: CalibratedOn = "valid",
) -> FittedModel:
    """Fit T and the thresholds on the calibration rows.

    Raises SettingsError when they are too few for the decision rule.
    """
    check_rule(decision, len(calibration))
    temperature = fit_temperature(
        calibration.logits_NC,
        calibration.labels_N,
        lower=settings.temperature_min,
        upper=settings.temperature_max,
        of=settings.temperature_of,
    )
    d2_N, _ = statistics.distance(calibration.cls_NH)
    thresholds = fit_thresholds(d2_N, quantile=settings.threshold_quantile)
    return FittedModel(
        list(labels), temperature, statistics, thresholds, decision, calibrated_on
    )

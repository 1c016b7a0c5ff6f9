"""Everything that is fitted on features, and what it decides.

Shapes: N ads, C classes, H hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rubert_ood.errors import BundleError
from rubert_ood.ood.chosen import ChosenDetector, fit_chosen
from rubert_ood.ood.conformal import conformal_p
from rubert_ood.ood.decision import (
    Decisions,
    Thresholds,
    TopClasses,
    check_rule,
    decide_on,
    fit_thresholds,
    measured,
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
    detector: ChosenDetector | None = None
    """What decides instead of Mahalanobis."""
    promises: tuple[Promise, ...] = ()
    """What the decision promises; all of it holds at once, with the confidence that each names."""

    def __post_init__(self) -> None:
        """Raise BundleError unless the detector is the one that the settings name."""
        name = self.detector.name if self.detector else "mahalanobis"
        if name != self.decision.detector:
            raise BundleError(
                f"decision.detector is {self.decision.detector}, but {name} was"
                " fitted. Use `tune --detector` to set one"
            )

    def decide(self, outputs: Outputs) -> Decisions:
        """Return class, confidence and OOD verdict of each ad."""
        top, d2_N = measured(
            outputs.logits_NC,
            outputs.cls_NH,
            labels=self.labels,
            temperature=self.temperature.temperature,
            statistics=self.statistics,
            top_k=self.decision.top_k,
        )
        p_N = self.detector.p(outputs) if self.detector else None
        return self.decide_on(top, d2_N, p_N)

    def p_of_calibration(self, calibration: Outputs) -> np.ndarray:
        """Return ood_p of the rows that fitted the thresholds, among themselves: float64 (n,)."""
        if self.detector is not None:
            return self.detector.p_of_calibration(calibration)
        d2_n, _ = self.statistics.distance(calibration.cls_NH)
        return conformal_p(d2_n, self.thresholds.calibration_d2)

    def decide_on(
        self, top: TopClasses, d2_N: np.ndarray, p_N: np.ndarray | None
    ) -> Decisions:
        """Return the same of the best classes and d2 of each ad, wherever they were computed.

        p_N: conformal p of `detector`; None without one.
        """
        return decide_on(
            top,
            d2_N,
            p_N,
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
    train: Outputs | None = None,
) -> FittedModel:
    """Fit T and the thresholds on the calibration rows.

    train: a sample of the training ads, for another detector than Mahalanobis. Raises SettingsError
    when the calibration rows are too few for the decision rule.
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
    detector = None
    if decision.detector != "mahalanobis":
        assert train is not None
        detector = fit_chosen(
            decision.detector,
            train,
            calibration,
            statistics=statistics,
            temperature=temperature.temperature,
        )
    return FittedModel(
        list(labels),
        temperature,
        statistics,
        fit_thresholds(d2_N, quantile=settings.threshold_quantile),
        decision,
        calibrated_on,
        detector,
    )

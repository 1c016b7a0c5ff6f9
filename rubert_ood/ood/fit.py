"""Everything that is fitted on features, and what it decides.

Shapes: N ads, C classes, H hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rubert_ood.ood.decision import Decisions, Thresholds, decide, fit_thresholds
from rubert_ood.ood.mahalanobis import MahalanobisStatistics, fit_mahalanobis
from rubert_ood.ood.temperature import TemperatureFit, fit_temperature
from rubert_ood.settings import DecisionSettings, FitSettings


@dataclass(frozen=True)
class FittedModel:
    labels: list[str]
    temperature: TemperatureFit
    statistics: MahalanobisStatistics
    thresholds: Thresholds
    decision: DecisionSettings

    def decide(self, logits_NC: np.ndarray, cls_NH: np.ndarray) -> Decisions:
        return decide(
            logits_NC,
            cls_NH,
            labels=self.labels,
            temperature=self.temperature.temperature,
            statistics=self.statistics,
            thresholds=self.thresholds,
            settings=self.decision,
        )


def fit(
    *,
    train_cls_NH: np.ndarray,
    train_labels_N: np.ndarray,
    valid_logits_NC: np.ndarray,
    valid_cls_NH: np.ndarray,
    valid_labels_N: np.ndarray,
    labels: Sequence[str],
    settings: FitSettings,
    decision: DecisionSettings,
) -> FittedModel:
    """Fit T and the thresholds on valid, the Mahalanobis statistics on train."""
    temperature = fit_temperature(
        valid_logits_NC, valid_labels_N, lower=settings.temperature_min, upper=settings.temperature_max
    )
    statistics = fit_mahalanobis(train_cls_NH, train_labels_N, len(labels))
    valid_d2_N, _ = statistics.distance(valid_cls_NH)
    thresholds = fit_thresholds(valid_d2_N, quantile=settings.threshold_quantile)
    return FittedModel(list(labels), temperature, statistics, thresholds, decision)

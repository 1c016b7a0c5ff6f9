"""The detector that decides where `decision.detector` names another one than Mahalanobis.

`combined` is Fisher's sum of the p-values of COMBINED, ranked among the calibration ads: one more
score, with a conformal p of its own (conformal.py). Merging rules that need no ranks, and are valid
under any dependence, were measured beside it (benchmarks/detectors.py): the harmonic mean (Wilson
2019, "The harmonic mean p-value for combining dependent tests"; Vovk and Wang 2020, "Combining
p-values via averaging"), and Cauchy's (Liu and Xie 2020, "Cauchy combination test"), Simes's.
Shapes: N ads, n calibration ads, C classes, H hidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubert_ood.ood.conformal import conformal_p, fisher, fisher_of_calibration
from rubert_ood.ood.detectors import Detector, fit_detector
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DetectorName

Floats = NDArray[np.float64]

COMBINED: tuple[DetectorName, ...] = ("mahalanobis", "mahalanobis++", "knn", "energy")


@dataclass(frozen=True, eq=False)
class ChosenDetector:
    """A detector with its scores of the calibration ads; of `combined` those of each part."""

    name: DetectorName
    parts: Mapping[DetectorName, Detector]
    """The detector itself, or those that are combined."""
    calibration: Mapping[DetectorName, Floats]
    """By part: every score, ascending."""
    combined_n: Floats | None = None
    """Of `combined`: every Fisher's sum, ascending."""

    def p(self, logits_NC: np.ndarray, cls_NH: np.ndarray) -> Floats:
        """Return the conformal p of each ad, in (0, 1]: float64 (N,)."""
        scores = {name: part(logits_NC, cls_NH) for name, part in self.parts.items()}
        return self.p_of(scores)

    def p_of(self, scores: Mapping[DetectorName, Floats]) -> Floats:
        """Return the same of the scores of each part, wherever they were computed."""
        if self.combined_n is None:
            return conformal_p(scores[self.name], self.calibration[self.name])
        return conformal_p(self.sums(scores), self.combined_n)

    def sums(self, scores: Mapping[DetectorName, Floats]) -> Floats:
        """Return Fisher's sum of the parts, float64 (N,)."""
        p_values = [
            conformal_p(scores[name], self.calibration[name]) for name in self.parts
        ]
        return fisher(p_values)

    def score(self, logits_NC: np.ndarray, cls_NH: np.ndarray) -> Floats:
        """Return what p ranks, float64 (N,): larger means more out of domain."""
        scores = {name: part(logits_NC, cls_NH) for name, part in self.parts.items()}
        return scores[self.name] if self.combined_n is None else self.sums(scores)


def fit_chosen(
    name: DetectorName,
    train: Outputs,
    calibration: Outputs,
    *,
    statistics: MahalanobisStatistics,
    temperature: float,
) -> ChosenDetector:
    """Fit the detector on train ads, and rank the calibration ads by it."""
    parts = {}
    for part in COMBINED if name == "combined" else (name,):
        parts[part] = fit_detector(
            part,
            train.cls_NH,
            train.labels_N,
            statistics=statistics,
            temperature=temperature,
        )
    return calibrated(name, parts, calibration)


def calibrated(
    name: DetectorName, parts: Mapping[DetectorName, Detector], calibration: Outputs
) -> ChosenDetector:
    """Rank the calibration ads by the fitted parts of a detector."""
    scores = {
        part: detector(calibration.logits_NC, calibration.cls_NH)
        for part, detector in parts.items()
    }
    combined_n = None
    if name == "combined":
        combined_n = fisher_of_calibration(list(scores.values()))
    ordered = {part: np.sort(scores_n) for part, scores_n in scores.items()}
    return ChosenDetector(name, parts, ordered, combined_n)

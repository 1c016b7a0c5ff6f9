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

from rubert_ood.ood.conformal import (
    conformal_p,
    fisher,
    fisher_among,
    fisher_of_calibration,
)
from rubert_ood.ood.detectors import TITLES, Detector, fit_detector, fit_detectors
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DetectorName

Floats = NDArray[np.float64]

COMBINED: tuple[DetectorName, ...] = ("mahalanobis", "nearest_neighbour", "energy")
"""One of each sort: Gaussians and single ads see texts that are far from the classes, logits those
between them. Others of a sort follow the one that is there, and add its noise again."""


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

    @property
    def title(self) -> str:
        """How reports call it."""
        return TITLES[self.name]

    def p(
        self, logits_NC: np.ndarray, cls_NH: np.ndarray, d2_N: Floats | None = None
    ) -> Floats:
        """Return the conformal p of each ad, in (0, 1]: float64 (N,).

        d2_N: the score of `mahalanobis`, where it was computed before.
        """
        return self.p_of(self._scores(logits_NC, cls_NH, d2_N))

    def p_of(self, scores: Mapping[DetectorName, Floats]) -> Floats:
        """Return the same of the scores of each part, wherever they were computed."""
        return conformal_p(self.score_of(scores), self.ranking_n)

    def p_of_calibration(self, logits_nC: np.ndarray, cls_nH: np.ndarray) -> Floats:
        """Return the p of the calibration ads among themselves, in their order: float64 (n,).

        Of `combined` by the statistic that they are ranked with, as `fisher_among` has it.
        """
        scores = self._scores(logits_nC, cls_nH, None)
        if self.combined_n is None:
            return self.p_of(scores)
        return conformal_p(fisher_among(list(scores.values())), self.combined_n)

    @property
    def ranking_n(self) -> Floats:
        """The scores that p ranks an ad among, ascending."""
        return self.calibration[self.name] if self.combined_n is None else self.combined_n

    def score(self, logits_NC: np.ndarray, cls_NH: np.ndarray) -> Floats:
        """Return what p ranks, float64 (N,): larger means more out of domain."""
        return self.score_of(self._scores(logits_NC, cls_NH, None))

    def score_of(self, scores: Mapping[DetectorName, Floats]) -> Floats:
        """Return the same of the scores of each part: its own, or Fisher's sum."""
        if self.combined_n is None:
            return scores[self.name]
        p_values = [
            conformal_p(scores[name], self.calibration[name]) for name in self.parts
        ]
        return fisher(p_values)

    def _scores(
        self, logits_NC: np.ndarray, cls_NH: np.ndarray, d2_N: Floats | None
    ) -> dict[DetectorName, Floats]:
        scores: dict[DetectorName, Floats] = {}
        for name, part in self.parts.items():
            if name == "mahalanobis" and d2_N is not None:
                scores[name] = d2_N
            else:
                scores[name] = part(logits_NC, cls_NH)
        return scores


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


def rank_all(
    train: Outputs,
    calibration: Outputs,
    *,
    statistics: MahalanobisStatistics,
    temperature: float,
) -> dict[str, ChosenDetector]:
    """Return every detector by its title, `combined` last; all from one fit of each."""
    parts = fit_detectors(
        train.cls_NH, train.labels_N, statistics=statistics, temperature=temperature
    )
    found = {}
    for name, title in TITLES.items():
        of_it = COMBINED if name == "combined" else (name,)
        chosen = {part: parts[TITLES[part]] for part in of_it}
        found[title] = calibrated(name, chosen, calibration)
    return found


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

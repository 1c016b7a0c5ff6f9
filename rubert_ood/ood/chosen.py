"""The detector that decides where `decision.detector` names another one than Mahalanobis.

Those of COMBINED are the harmonic mean of the p-values of their parts, ranked among the calibration
ads: one more score, with a conformal p of its own (conformal.py). Fisher's sum (Fisher 1932),
Cauchy's (Liu and Xie 2020, "Cauchy combination test") and Simes's were measured beside it, and so
was the harmonic mean without ranks (Vovk and Wang 2020, "Combining p-values via averaging"):
benchmarks/detectors.py.
Shapes: N ads, n calibration ads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubert_ood.ood.conformal import (
    combine,
    combine_among,
    combine_calibration,
    conformal_p,
)
from rubert_ood.ood.detectors import (
    COMBINED,
    TITLES,
    Detector,
    fit_detector,
    fit_detectors,
)
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DetectorName

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChosenDetector:
    """A detector with its scores of the calibration ads; of several combined those of each."""

    name: DetectorName
    parts: Mapping[DetectorName, Detector]
    """The detector itself, or those that are combined."""
    calibration: Mapping[DetectorName, Floats]
    """By part: every score, ascending."""
    combined_n: Floats | None = None
    """Of several combined: every sum of 1 / p, ascending."""

    @property
    def title(self) -> str:
        """How reports call it."""
        return TITLES[self.name]

    def p(self, outputs: Outputs) -> Floats:
        """Return the conformal p of each ad, in (0, 1]: float64 (N,)."""
        return self.p_of(self._scores(outputs))

    def p_of(self, scores: Mapping[DetectorName, Floats]) -> Floats:
        """Return the same of the scores of each part, wherever they were computed."""
        return conformal_p(self.score_of(scores), self.ranking_n)

    def p_of_calibration(self, calibration: Outputs) -> Floats:
        """Return the p of the calibration ads among themselves, in their order: float64 (n,).

        Of several combined by the statistic that they are ranked with, as `combine_among` has it.
        """
        scores = self._scores(calibration)
        if self.combined_n is None:
            return self.p_of(scores)
        return conformal_p(combine_among(list(scores.values())), self.combined_n)

    @property
    def ranking_n(self) -> Floats:
        """The scores that p ranks an ad among, ascending."""
        return self.calibration[self.name] if self.combined_n is None else self.combined_n

    def score(self, outputs: Outputs) -> Floats:
        """Return what p ranks, float64 (N,): larger means more out of domain."""
        return self.score_of(self._scores(outputs))

    def score_of(self, scores: Mapping[DetectorName, Floats]) -> Floats:
        """Return the same of the scores of each part: its own, or the sum of 1 / p."""
        if self.combined_n is None:
            return scores[self.name]
        p_values = [
            conformal_p(scores[name], self.calibration[name]) for name in self.parts
        ]
        return combine(p_values)

    def _scores(self, outputs: Outputs) -> dict[DetectorName, Floats]:
        return {name: part(outputs) for name, part in self.parts.items()}


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
    for part in COMBINED.get(name, (name,)):
        parts[part] = fit_detector(
            part, train, statistics=statistics, temperature=temperature
        )
    return calibrated(name, parts, calibration)


def rank_all(
    train: Outputs,
    calibration: Outputs,
    *,
    statistics: MahalanobisStatistics,
    temperature: float,
) -> dict[str, ChosenDetector]:
    """Return every detector by its title, combined ones last; all from one fit of each.

    Without the token means of the train ads those that need none.
    """
    parts = fit_detectors(train, statistics=statistics, temperature=temperature)
    found = {}
    for name, title in TITLES.items():
        of_it = COMBINED.get(name, (name,))
        if any(TITLES[part] not in parts for part in of_it):
            continue
        chosen = {part: parts[TITLES[part]] for part in of_it}
        found[title] = calibrated(name, chosen, calibration)
    return found


def calibrated(
    name: DetectorName, parts: Mapping[DetectorName, Detector], calibration: Outputs
) -> ChosenDetector:
    """Rank the calibration ads by the fitted parts of a detector."""
    scores = {part: detector(calibration) for part, detector in parts.items()}
    combined_n = None
    if name in COMBINED:
        combined_n = combine_calibration(list(scores.values()))
    ordered = {part: np.sort(scores_n) for part, scores_n in scores.items()}
    return ChosenDetector(name, parts, ordered, combined_n)

"""Scores of how unlike the training set an ad is: larger means more out of domain.

A detector is a function of logits (N, C) and CLS (N, H) that returns float64 (N,). The evaluation
compares all on the same outputs of the same model; `decision.detector` says which one decides.
Shapes: N ads, C classes, H hidden, R reference ads.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import sample_rows
from rubert_ood.ood.temperature import softmax
from rubert_ood.settings import DetectorName

Floats = NDArray[np.floating]
Detector = Callable[[Floats, Floats], NDArray[np.float64]]

MAHALANOBIS = "Mahalanobis"
COMBINED = "combined"
NUM_NEIGHBOURS = 10
TITLES: dict[DetectorName, str] = {
    "mahalanobis": MAHALANOBIS,
    "relative_mahalanobis": "relative Mahalanobis",
    "mahalanobis++": "Mahalanobis++",
    "knn": f"{NUM_NEIGHBOURS} nearest neighbours",
    "nearest_neighbour": "nearest neighbour",
    "msp": "MSP",
    "max_logit": "max logit",
    "energy": "energy",
    "combined": COMBINED,
}
"""How reports call them, by the value of the setting."""
SINGLE: tuple[DetectorName, ...] = tuple(name for name in TITLES if name != "combined")
MAX_NEIGHBOUR_ADS = 5_000
"""With H = 768 so many are 8 MFLOP an ad, a thousandth of a BERT-base of 40 tokens."""
NEIGHBOUR_ROWS = 1_024
SHORTEST = 1e-12
"""Norm of the shortest vector that has a direction."""


def msp(logits_NC: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return 1 - max softmax(logits / T). Source: Hendrycks and Gimpel 2017, section 2."""
    return np.asarray(1 - softmax(logits_NC, temperature).max(axis=1))


def max_logit(logits_NC: Floats) -> NDArray[np.float64]:
    """Return the negated largest logit.

    Source: Hendrycks et al. 2022, "Scaling OOD Detection", section 3.
    """
    return -logits_NC.max(axis=1).astype(np.float64)


def energy(logits_NC: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return -T logsumexp(logits / T).

    Source: Liu et al. 2020, "Energy-based OOD Detection", equation 4.
    """
    return -temperature * np.asarray(
        logsumexp(logits_NC.astype(np.float64) / temperature, axis=1)
    )


@dataclass(frozen=True)
class Msp:
    """MSP at the temperature of the model."""

    temperature: float

    def __call__(self, logits_NC: Floats, _cls_NH: Floats) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return msp(logits_NC, self.temperature)


@dataclass(frozen=True)
class MaxLogit:
    """The negated largest logit."""

    def __call__(self, logits_NC: Floats, _cls_NH: Floats) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return max_logit(logits_NC)


@dataclass(frozen=True)
class Energy:
    """Energy at T = 1."""

    def __call__(self, logits_NC: Floats, _cls_NH: Floats) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return energy(logits_NC)


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """d2 to the nearest class."""

    statistics: MahalanobisStatistics

    def __call__(self, _logits_NC: Floats, cls_NH: Floats) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return self.statistics.distance(cls_NH)[0]


@dataclass(frozen=True, eq=False)
class RelativeMahalanobis:
    """min_c d2_c(x) - d2_0(x), where d2_0 is the distance to one Gaussian over all of train.

    Both precisions are LedoitWolf's, and both are scaled so that their own mean squared distance on
    train is H: the difference of two scales would mean nothing. Source: Ren et al. 2021, "A Simple
    Fix to Mahalanobis Distance for Improving Near-OOD Detection", section 2.
    """

    statistics: MahalanobisStatistics
    background: MahalanobisStatistics

    @classmethod
    def fit(
        cls, statistics: MahalanobisStatistics, train_cls_NH: Floats
    ) -> "RelativeMahalanobis":
        """Fit the one Gaussian."""
        one_class_N = np.zeros(len(train_cls_NH), np.int64)
        return cls(statistics, fit_mahalanobis(train_cls_NH, one_class_N, 1))

    def __call__(self, _logits_NC: Floats, cls_NH: Floats) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return self.statistics.distance(cls_NH)[0] - self.background.distance(cls_NH)[0]


@dataclass(frozen=True, eq=False)
class UnitMahalanobis:
    """The squared Mahalanobis distance of l2-normalised features.

    Source: Mueller and Hein 2025, "Mahalanobis++", section 4: norms of features differ by class and
    spoil the Gaussian.
    """

    statistics: MahalanobisStatistics

    @classmethod
    def fit(
        cls, train_cls_NH: Floats, labels_N: NDArray[np.integer]
    ) -> "UnitMahalanobis":
        """Fit on the classes that occur."""
        classes, numbers_N = np.unique(labels_N, return_inverse=True)
        return cls(fit_mahalanobis(_unit(train_cls_NH), numbers_N, len(classes)))

    def __call__(self, _logits_NC: Floats, cls_NH: Floats) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return self.statistics.distance(_unit(cls_NH))[0]


@dataclass(frozen=True, eq=False)
class NearestNeighbours:
    """The distance to the k-th nearest of at most MAX_NEIGHBOUR_ADS train ads, l2-normalised.

    float32: one product of (N, H) and (H, R) is what it costs. Source: Sun et al. 2022,
    "Out-of-Distribution Detection with Deep Nearest Neighbors", section 3.
    """

    reference_RH: NDArray[np.float32]
    """Unit vectors."""
    k: int
    """Which neighbour counts, at most R."""

    @classmethod
    def fit(cls, train_cls_NH: Floats, k: int) -> "NearestNeighbours":
        """Keep a repeatable sample of the train ads."""
        rows = sample_rows(len(train_cls_NH), MAX_NEIGHBOUR_ADS)
        reference_RH = _unit(train_cls_NH[rows]).astype(np.float32)
        return cls(reference_RH, min(k, len(reference_RH)))

    def __call__(self, _logits_NC: Floats, cls_NH: Floats) -> NDArray[np.float64]:
        """Return the score of each ad; memory beyond it: (NEIGHBOUR_ROWS, R) float32."""
        unit_NH = _unit(cls_NH).astype(np.float32)
        cosine_N = np.empty(len(unit_NH), np.float32)
        for start in range(0, len(unit_NH), NEIGHBOUR_ROWS):
            rows = slice(start, start + NEIGHBOUR_ROWS)
            cosine_nR = unit_NH[rows] @ self.reference_RH.T
            cosine_N[rows] = _largest(cosine_nR, self.k)
        return np.sqrt(np.maximum(2 - 2 * cosine_N.astype(np.float64), 0))


def _largest(values_nR: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return the k-th largest of each row, (n,); the order of the rows' values may change."""
    if k == 1:
        return np.asarray(values_nR.max(axis=1))
    place = values_nR.shape[1] - k
    values_nR.partition(place, axis=1)
    return values_nR[:, place]


def fit_detector(
    name: DetectorName,
    train_cls_NH: Floats,
    labels_N: NDArray[np.integer],
    *,
    statistics: MahalanobisStatistics,
    temperature: float,
) -> Detector:
    """Return one detector; `combined` is made of several (chosen.py)."""
    match name:
        case "mahalanobis":
            return Mahalanobis(statistics)
        case "relative_mahalanobis":
            return RelativeMahalanobis.fit(statistics, train_cls_NH)
        case "mahalanobis++":
            return UnitMahalanobis.fit(train_cls_NH, labels_N)
        case "knn" | "nearest_neighbour":
            k = NUM_NEIGHBOURS if name == "knn" else 1
            return NearestNeighbours.fit(train_cls_NH, k)
    return of_logits(name, temperature)


def of_logits(name: DetectorName, temperature: float) -> Detector:
    """Return a detector that needs no features; ValueError for the name of another."""
    match name:
        case "msp":
            return Msp(temperature)
        case "max_logit":
            return MaxLogit()
        case "energy":
            return Energy()
    raise ValueError(f"{name} is not a single detector of logits")


def fit_detectors(
    train_cls_NH: Floats,
    labels_N: NDArray[np.integer],
    *,
    statistics: MahalanobisStatistics,
    temperature: float,
) -> dict[str, Detector]:
    """Return every single detector by its title.

    `statistics` are those of the bundle; the train features may be a sample of what these were
    fitted on.
    """
    found = {}
    for name in SINGLE:
        found[TITLES[name]] = fit_detector(
            name, train_cls_NH, labels_N, statistics=statistics, temperature=temperature
        )
    return found


def _unit(cls_NH: Floats) -> NDArray[np.float64]:
    x_NH = cls_NH.astype(np.float64)
    return np.asarray(
        x_NH / np.maximum(np.linalg.norm(x_NH, axis=1, keepdims=True), SHORTEST)
    )

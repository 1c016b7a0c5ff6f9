"""Scores of how unlike the training set an ad is: larger means more out of domain.

A detector is a function of the outputs of a network that returns float64 (N,). The evaluation
compares all on the same outputs of the same model; `decision.detector` says which one decides.
Shapes: N ads, C classes, H hidden, R reference ads.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from rubert_ood.errors import BundleError
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs, sample_rows
from rubert_ood.ood.temperature import softmax
from rubert_ood.settings import DetectorName

Floats = NDArray[np.floating]
Detector = Callable[[Outputs], NDArray[np.float64]]

MAHALANOBIS = "Mahalanobis"
NUM_NEIGHBOURS = 10
TITLES: dict[DetectorName, str] = {
    "mahalanobis": MAHALANOBIS,
    "relative_mahalanobis": "relative Mahalanobis",
    "mahalanobis++": "Mahalanobis++",
    "mahalanobis++_tokens": "Mahalanobis++ of tokens",
    "knn": f"{NUM_NEIGHBOURS} nearest neighbours",
    "nearest_neighbour": "nearest neighbour",
    "msp": "MSP",
    "max_logit": "max logit",
    "energy": "energy",
    "combined": "combined",
    "combined_tokens": "combined with tokens",
}
"""How reports call them, by the value of the setting."""
COMBINED: dict[DetectorName, tuple[DetectorName, ...]] = {
    "combined": ("mahalanobis", "nearest_neighbour", "energy"),
    "combined_tokens": ("mahalanobis++_tokens", "energy"),
}
"""What they are made of, one of each sort: Gaussians, single ads and tokens see texts that are far
from the classes, logits those between them. Others of a sort follow the one that is there, and add
its noise again. The first is of the last layer alone; the second pays where the layers before it
were pretrained."""
SINGLE: tuple[DetectorName, ...] = tuple(name for name in TITLES if name not in COMBINED)
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

    def __call__(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return msp(outputs.logits_NC, self.temperature)


@dataclass(frozen=True)
class MaxLogit:
    """The negated largest logit."""

    def __call__(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return max_logit(outputs.logits_NC)


@dataclass(frozen=True)
class Energy:
    """Energy at T = 1."""

    def __call__(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return energy(outputs.logits_NC)


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """d2 to the nearest class."""

    statistics: MahalanobisStatistics

    def __call__(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the score of each ad."""
        return self.statistics.distance(outputs.cls_NH)[0]


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

    def __call__(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the score of each ad."""
        cls_NH = outputs.cls_NH
        return self.statistics.distance(cls_NH)[0] - self.background.distance(cls_NH)[0]


@dataclass(frozen=True, eq=False)
class UnitMahalanobis:
    """The squared Mahalanobis distance of l2-normalised features.

    Source: Mueller and Hein 2025, "Mahalanobis++", section 4: norms of features differ by class and
    spoil the Gaussian.
    """

    statistics: MahalanobisStatistics
    of_tokens: bool = False
    """Of the mean of all tokens that enter the last layer, not of CLS, which is trained to tell the
    classes apart and forgets what else a text is."""

    @classmethod
    def fit(cls, train: Outputs, *, of_tokens: bool = False) -> "UnitMahalanobis":
        """Fit on the classes that occur. Raises BundleError where the token means are missing."""
        features_NH = _tokens(train) if of_tokens else train.cls_NH
        classes, numbers_N = np.unique(train.labels_N, return_inverse=True)
        statistics = fit_mahalanobis(_unit(features_NH), numbers_N, len(classes))
        return cls(statistics, of_tokens)

    def __call__(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the score of each ad."""
        features_NH = _tokens(outputs) if self.of_tokens else outputs.cls_NH
        return self.statistics.distance(_unit(features_NH))[0]


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

    def __call__(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the score of each ad; memory beyond it: (NEIGHBOUR_ROWS, R) float32."""
        unit_NH = _unit(outputs.cls_NH).astype(np.float32)
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
    train: Outputs,
    *,
    statistics: MahalanobisStatistics,
    temperature: float,
) -> Detector:
    """Return one detector; those of COMBINED are made of several (chosen.py).

    Raises BundleError where it needs token means, and the train ads have none.
    """
    match name:
        case "mahalanobis":
            return Mahalanobis(statistics)
        case "relative_mahalanobis":
            return RelativeMahalanobis.fit(statistics, train.cls_NH)
        case "mahalanobis++":
            return UnitMahalanobis.fit(train)
        case "mahalanobis++_tokens":
            return UnitMahalanobis.fit(train, of_tokens=True)
        case "knn" | "nearest_neighbour":
            k = NUM_NEIGHBOURS if name == "knn" else 1
            return NearestNeighbours.fit(train.cls_NH, k)
    return of_logits(name, temperature)


def needs_tokens(name: DetectorName) -> bool:
    """Say whether a detector, or a part of it, reads the token means."""
    return "mahalanobis++_tokens" in COMBINED.get(name, (name,))


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
    train: Outputs, *, statistics: MahalanobisStatistics, temperature: float
) -> dict[str, Detector]:
    """Return every single detector by its title; without token means all that need none.

    `statistics` are those of the bundle; the train ads may be a sample of what these were fitted
    on.
    """
    found = {}
    for name in SINGLE:
        if name == "mahalanobis++_tokens" and train.tokens_NH is None:
            continue
        found[TITLES[name]] = fit_detector(
            name, train, statistics=statistics, temperature=temperature
        )
    return found


def _tokens(outputs: Outputs) -> Floats:
    if outputs.tokens_NH is None:
        raise BundleError(
            f"reference.safetensors: the detector {TITLES['mahalanobis++_tokens']}"
            " needs the token means of the train ads, and they are missing."
            " Train again, or set another detector"
        )
    return outputs.tokens_NH


def _unit(features_NH: Floats) -> NDArray[np.float64]:
    x_NH = features_NH.astype(np.float64)
    return np.asarray(
        x_NH / np.maximum(np.linalg.norm(x_NH, axis=1, keepdims=True), SHORTEST)
    )

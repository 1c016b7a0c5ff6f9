"""Scores of how unlike the training set an ad is: larger means more out of domain.

A detector is a function of logits (N, C) and CLS (N, H) that returns float64 (N,). Mahalanobis is
the one that decides in scoring; the evaluation compares it with the others on the same outputs of
the same model. Shapes: N ads, C classes, H hidden.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.temperature import softmax

Floats = NDArray[np.floating]
Detector = Callable[[Floats, Floats], NDArray[np.float64]]

MAHALANOBIS = "Mahalanobis"
NUM_NEIGHBOURS = 10
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


def relative_mahalanobis(
    statistics: MahalanobisStatistics, train_cls_NH: Floats
) -> Detector:
    """Return min_c d2_c(x) - d2_0(x), where d2_0 is the distance to one Gaussian over all of train.

    Both precisions are LedoitWolf's, and both are scaled so that their own mean squared distance on
    train is H: the difference of two scales would mean nothing. Source: Ren et al. 2021, "A Simple
    Fix to Mahalanobis Distance for Improving Near-OOD Detection", section 2.
    """
    background = fit_mahalanobis(train_cls_NH, np.zeros(len(train_cls_NH), np.int64), 1)
    return lambda _, cls_NH: (
        statistics.distance(cls_NH)[0] - background.distance(cls_NH)[0]
    )


def unit_mahalanobis(train_cls_NH: Floats, labels_N: NDArray[np.integer]) -> Detector:
    """Return the squared Mahalanobis distance of l2-normalised features.

    Source: Mueller and Hein 2025, "Mahalanobis++", section 4: norms of features differ by class and
    spoil the Gaussian.
    """
    classes, numbers_N = np.unique(labels_N, return_inverse=True)
    statistics = fit_mahalanobis(_unit(train_cls_NH), numbers_N, len(classes))
    return lambda _, cls_NH: statistics.distance(_unit(cls_NH))[0]


def nearest_neighbours(train_cls_NH: Floats) -> Detector:
    """Return the distance to the k-th nearest train ad, both l2-normalised; k = 10 at most.

    Source: Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors", section 3.
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(
        n_neighbors=min(NUM_NEIGHBOURS, len(train_cls_NH)), algorithm="brute"
    )
    index.fit(_unit(train_cls_NH))
    return lambda _, cls_NH: np.asarray(
        index.kneighbors(_unit(cls_NH))[0][:, -1], dtype=np.float64
    )


def fit_detectors(
    train_cls_NH: Floats,
    labels_N: NDArray[np.integer],
    *,
    statistics: MahalanobisStatistics,
    temperature: float,
) -> dict[str, Detector]:
    """Return every detector by name.

    `statistics` are those of the bundle; the train features may be a sample of what these were
    fitted on.
    """
    return {
        MAHALANOBIS: lambda _, cls_NH: statistics.distance(cls_NH)[0],
        "relative Mahalanobis": relative_mahalanobis(statistics, train_cls_NH),
        "Mahalanobis++": unit_mahalanobis(train_cls_NH, labels_N),
        f"{NUM_NEIGHBOURS} nearest neighbours": nearest_neighbours(train_cls_NH),
        "MSP": lambda logits_NC, _: msp(logits_NC, temperature),
        "max logit": lambda logits_NC, _: max_logit(logits_NC),
        "energy": lambda logits_NC, _: energy(logits_NC),
    }


def _unit(cls_NH: Floats) -> NDArray[np.float64]:
    x_NH = cls_NH.astype(np.float64)
    return np.asarray(
        x_NH / np.maximum(np.linalg.norm(x_NH, axis=1, keepdims=True), SHORTEST)
    )

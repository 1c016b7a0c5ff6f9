"""Whether two classifiers differ on the same ads, or chance does.

Shapes: N ads, C classes, K kinds of ads (of the same class and the same two answers), R resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, false_discovery_control

RESAMPLES = 2_000
AT_ONCE = 250
"""Resamples that are in memory together."""
SEED = 0


@dataclass(frozen=True, eq=False)
class Resampled:
    """Differences, the new one less the champion, in each resample of the ads."""

    accuracy_R: NDArray[np.float64]
    macro_f1_R: NDArray[np.float64]
    f1_RC: NDArray[np.float64]


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the p-value of McNemar's exact test: two-sided, 1 where neither is alone right.

    `only_a` and `only_b` count the ads that only one of the two gets right. Source: McNemar 1947.
    """
    if not only_a + only_b:
        return 1.0
    return float(binomtest(only_a, only_a + only_b).pvalue)


def adjusted(p_C: list[float]) -> list[float]:
    """Return p-values so that the share of false finds below a level is at most that level.

    Source: Benjamini and Hochberg 1995.
    """
    return false_discovery_control(p_C).tolist() if p_C else []


def paired_bootstrap(
    labels_N: NDArray[np.int64],
    new_N: NDArray[np.int64],
    champion_N: NDArray[np.int64],
    num_classes: int,
) -> Resampled:
    """Draw the ads again and again, with replacement, and measure both on the same draw.

    Ads of one kind are interchangeable: so the counts of the kinds are drawn, which is the same
    distribution (multinomial), and the work does not grow with the ads. Source: Efron 1979.
    """
    triples_N3 = np.column_stack([labels_N, new_N, champion_N])
    triples_K3, count_K = np.unique(triples_N3, axis=0, return_counts=True)
    labels_K, new_K, champion_K = triples_K3.T
    rng = np.random.default_rng(SEED)
    share_K = count_K / count_K.sum()
    pieces = []
    for start in range(0, RESAMPLES, AT_ONCE):
        size = min(AT_ONCE, RESAMPLES - start)
        count_RK = rng.multinomial(len(labels_N), share_K, size=size)
        new = measures(count_RK, labels_K, new_K, num_classes)
        champion = measures(count_RK, labels_K, champion_K, num_classes)
        piece = []
        for ours, theirs in zip(new, champion, strict=True):
            piece.append(ours - theirs)
        pieces.append(piece)
    accuracy, macro_f1, f1 = zip(*pieces, strict=True)
    return Resampled(*map(np.concatenate, (accuracy, macro_f1, f1)))


def measures(
    count_RK: NDArray[np.int64],
    true_K: NDArray[np.int64],
    predicted_K: NDArray[np.int64],
    num_classes: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return accuracy (R,), macro-F1 (R,) and F1 (R, C) of ads that are counted by their kinds.

    Macro-F1 is the mean over the classes that occur in labels or predictions, as in sklearn.
    """
    eye_CC = np.eye(num_classes)
    true_KC, predicted_KC = eye_CC[true_K], eye_CC[predicted_K]
    support_RC, answers_RC = count_RK @ true_KC, count_RK @ predicted_KC
    right_RC = count_RK @ (true_KC * predicted_KC)
    both_RC = support_RC + answers_RC
    f1_RC = 2 * right_RC / np.maximum(both_RC, 1)
    macro_f1_R = f1_RC.sum(axis=1) / (both_RC > 0).sum(axis=1)
    return right_RC.sum(axis=1) / support_RC.sum(axis=1), macro_f1_R, f1_RC


def interval(values_R: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the percentile interval of a bootstrap."""
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(values_R, [tail, 1 - tail])
    return float(lower), float(upper)

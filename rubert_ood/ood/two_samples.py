"""Whether two nights differ, or chance does: tests that know their own noise.

A p-value is the share of random re-divisions of both nights together that differ at least as much:
so it is exact whatever the distributions are. Draws end early where the answer is clear (Besag
and Clifford 1991). Shapes: B bins, R re-divisions, S differences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 100
"""Re-divisions that are drawn together."""
ENOUGH = 10
"""So many that differ as much end the test: the p-value is not small."""
MOST = 4_900
"""Re-divisions of a test that finds something: the smallest p-value is 1 / 4,901."""
SEED = 0
MOST_ADS = 100_000_000
"""Of both nights; more are scaled down, since numpy draws from fewer than 1e9."""


@dataclass(frozen=True)
class TwoSamples:
    """What a test found."""

    p: float
    difference: float
    """The largest change of the share of one bin, or of all bins up to one."""


def histogram_test(now_B: NDArray[np.int64], before_B: NDArray[np.int64]) -> TwoSamples:
    """Compare two histograms over the same bins by their largest standardised difference.

    Looks at the share of each bin, and at that of all bins up to each: a change in a tail counts
    in its own noise, which the Kolmogorov-Smirnov distance, made for the middle, does not see.
    Source: weighted Kolmogorov-Smirnov statistics, Canner 1975.
    """
    now_B, before_B = np.asarray(now_B, np.int64), np.asarray(before_B, np.int64)
    total = int(now_B.sum() + before_B.sum())
    if total > MOST_ADS:
        now_B, before_B = [
            (b * (MOST_ADS / total)).astype(np.int64) for b in (now_B, before_B)
        ]
    both_B = now_B + before_B
    filled = both_B > 0
    now_B, both_B = now_B[filled], both_B[filled]
    num_now, num_before = int(now_B.sum()), int(before_B.sum())
    if not num_now or not num_before or len(both_B) < 2:
        return TwoSamples(1.0, 0.0)
    noise_S = _noise(both_B, num_now, num_before)
    found_S = _differences(now_B[None], both_B, num_now, num_before)[0]
    seen = float((np.abs(found_S) / noise_S).max())

    def draw(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        drawn_RB = rng.multivariate_hypergeometric(
            both_B, num_now, size=size, method="marginals"
        )
        drawn_RS = _differences(drawn_RB, both_B, num_now, num_before)
        return np.asarray((np.abs(drawn_RS) / noise_S).max(axis=1))

    return TwoSamples(_p_value(seen, draw), float(np.abs(found_S).max()))


def _noise(
    both_B: NDArray[np.int64], num_now: int, num_before: int
) -> NDArray[np.float64]:
    """Return the standard deviation of each difference."""
    share_S = _shares(both_B[None] / both_B.sum())[0]
    variance_S = share_S * (1 - share_S) * (1 / num_now + 1 / num_before)
    return np.asarray(np.sqrt(np.maximum(variance_S, 1e-18)))


def _differences(
    now_RB: NDArray[np.int64], both_B: NDArray[np.int64], num_now: int, num_before: int
) -> NDArray[np.float64]:
    """Return the differences of all shares, (R, S)."""
    return _shares(now_RB / num_now - (both_B - now_RB) / num_before)


def _shares(bins_RB: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bins, and the sums up to each but the last: (R, 2 B - 1)."""
    return np.concatenate([bins_RB, np.cumsum(bins_RB, axis=1)[:, :-1]], axis=1)


def _p_value(
    seen: float, draw: Callable[[np.random.Generator, int], NDArray[np.float64]]
) -> float:
    """Return the share of re-divisions that differ at least as much, the one seen among them."""
    rng = np.random.default_rng(SEED)
    as_much = num_drawn = 0
    while num_drawn < MOST and as_much < ENOUGH:
        as_much += int((draw(rng, AT_ONCE) >= seen - 1e-12).sum())
        num_drawn += AT_ONCE
    return (1 + as_much) / (1 + num_drawn)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values so that one below a level is false in at most that share of nights.

    Source: Holm 1979.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for rank, test in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[test])
        adjusted[test] = min(largest, 1.0)
    return adjusted.tolist()

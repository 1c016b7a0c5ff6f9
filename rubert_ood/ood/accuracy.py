"""How accurate a model is on ads without labels: its confidence there, corrected by what confidence
was worth on calibration ads.

Source: Guillory et al. 2021, "Predicting with confidence on unseen distributions" (difference of
confidences). Measured beside average thresholded confidence (Garg et al. 2022) in
benchmarks/nights.py. Shapes: N ads.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

COVERAGE = 0.95


@dataclass(frozen=True)
class Worth:
    """What confidence was worth on labelled ads that trained nothing."""

    num_ads: int
    accuracy: float
    surplus: float
    """Mean of (right or not) less confidence: what the mean confidence of others lacks."""
    spread: float
    """Standard deviation of the same."""

    @classmethod
    def of(cls, confidence_N: NDArray[np.float64], right_N: NDArray[np.bool_]) -> "Worth":
        """Compare the confidence of each ad with whether its best class is right."""
        surplus_N = right_N - confidence_N
        return cls(
            num_ads=len(right_N),
            accuracy=float(right_N.mean()),
            surplus=float(surplus_N.mean()),
            spread=float(surplus_N.std(ddof=1)) if len(right_N) > 1 else 0.0,
        )


@dataclass(frozen=True)
class Interval:
    """An estimate, and the two ends of its 95 % interval."""

    value: float
    low: float
    high: float


def estimated_accuracy(
    num_ads: int, total: float, squares: float, *, worth: Worth, num_texts: int
) -> Interval:
    """Return the share of right best classes among ads of which only sums of confidence are known.

    total and squares: sums of the confidence of each ad, and of its square. num_texts: different
    texts among them, since ads of one text tell the same. The interval (normal) holds the noise of
    both samples, not a change in what confidence is worth.
    """
    mean = total / num_ads
    variance = max(squares / num_ads - mean * mean, 0.0) / max(num_texts, 1)
    variance += worth.spread**2 / worth.num_ads
    margin = float(norm.isf((1 - COVERAGE) / 2)) * math.sqrt(variance)
    value = mean + worth.surplus
    return Interval(*[min(max(end, 0.0), 1.0) for end in _ends(value, margin)])


def _ends(value: float, margin: float) -> tuple[float, float, float]:
    return value, value - margin, value + margin

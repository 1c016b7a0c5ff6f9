"""How far two samples of one source differ by chance: what has moved lies beyond it."""

import math

from scipy.stats import chi2, norm

CHANCE = 0.001
"""How seldom a measure that did not move goes beyond; a dozen of them do so once in 80 nights."""


def rate_noise(share: float, num_now: int, num_before: int) -> float:
    """Return the change of a share that chance explains.

    share: of both samples together. The two counts are binomial.
    """
    variance = share * (1 - share) * (1 / num_now + 1 / num_before)
    return float(norm.isf(CHANCE / 2)) * math.sqrt(variance)


def distance_noise(num_bins: int, num_now: int, num_before: int) -> float:
    """Return the Jensen-Shannon distance (base 2) that chance explains.

    For two samples of one source, 8 ln(2) times the divergence over 1/n + 1/m is about chi-square
    with one degree of freedom less than there are bins that occur: the second term of the Taylor
    series of the divergence.
    """
    chi_square = float(chi2.isf(CHANCE, max(num_bins - 1, 1)))
    scale = (1 / num_now + 1 / num_before) / (8 * math.log(2))
    return min(1.0, math.sqrt(chi_square * scale))

"""How many of the ads that were flagged OOD are in-domain ads after all.

Of N in-domain ads at most N t have a conformal p-value of at most t, in the mean; over the number
that is flagged there, that is the estimated false discovery rate. A rule that asks for more than a
small p flags fewer, so it is a bound. Source: Benjamini and Hochberg 1995; that it holds of
conformal p-values, which share their calibration ads: Bates et al. 2023, theorem 2.
Shapes: E limits of p.
"""

import numpy as np
from numpy.typing import NDArray


def false_share(num_ads: int, num_flagged: int, p_last: float) -> float:
    """Return the largest estimated share of in-domain ads among the flagged ones, 0 without any.

    p_last: the largest p of a flagged ad.
    """
    if not num_flagged:
        return 0.0
    return min(1.0, num_ads * p_last / num_flagged)


def sound_flags(
    num_ads: int,
    flagged_E: NDArray[np.int64],
    limits_E: NDArray[np.float64],
    level: float,
) -> int:
    """Return how many flagged ads may stay so that at most `level` of them are in-domain ads.

    flagged_E counts the flagged ads whose p is at most each limit: the step-up rule of Benjamini
    and Hochberg, at the limits alone.
    """
    holds_E = (flagged_E > 0) & (num_ads * limits_E <= level * flagged_E)
    return int(flagged_E[holds_E].max(initial=0))

"""How far two runs are apart in the shares of their labels, or of any histogram."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.distance import jensenshannon


def class_shift(now: Mapping[str, int], before: Mapping[str, int]) -> float:
    """Return the `shift` of two counts by label."""
    names = sorted({*now, *before})
    return shift(
        [now.get(name, 0) for name in names], [before.get(name, 0) for name in names]
    )


def shift(now: Sequence[int], before: Sequence[int]) -> float:
    """Return the Jensen-Shannon distance (base 2, in [0, 1]) of two histograms over the same bins,
    as shares. Lin 1991, eq. 4.1."""
    if not sum(now) or not sum(before):
        return 0.0  # a run without rows has no shares; min_rows_ratio judges it
    return float(np.nan_to_num(jensenshannon(now, before, base=2)))

"""A limit of its own for each predicted class: Mondrian conformal p-values.

One limit for all calls the ads of a scattered class far more often, and those of a dense one hardly
ever. Among ads of one predicted class the p of a new one is uniform, so a limit for each class
bounds the share that is far in each (Vovk 2012, Conditional validity of inductive conformal
predictors; the categories are the predicted classes). Classes with too few rows share one: the
bound then holds for them together.

A limit is kept as a value of the p over all calibration rows, whatever score that ranks: it lies
between two of its steps, so nothing is lost. Which classes are pooled must not depend on the
calibration rows; it is decided by how many are expected.

Shapes: N calibration rows, C classes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLACK = 1.5
"""So many times the rows that it needs are expected of a class with a limit of its own."""


@dataclass(frozen=True, eq=False)
class ClassLimits:
    """Where far begins, by predicted class. Raises ValueError where that makes no sense."""

    alpha_C: NDArray[np.float64]
    """An ad is far at a p, over all calibration rows, of at most this; at 0 none ever is."""
    num_rows_C: NDArray[np.int64]
    """Calibration rows that are predicted as the class."""
    is_pooled_C: NDArray[np.bool_]
    """Whether the class shares its limit with the others that are pooled."""

    def __post_init__(self) -> None:
        shapes = {self.alpha_C.shape, self.num_rows_C.shape, self.is_pooled_C.shape}
        if len(shapes) > 1 or not ((self.alpha_C >= 0) & (self.alpha_C < 1)).all():
            raise ValueError("limits of classes are not shares, one of each class")
        if len(set(self.alpha_C[self.is_pooled_C].tolist())) > 1:
            raise ValueError("classes that are pooled have different limits")


def pooled_classes(expected_C: NDArray[np.float64], needed: int) -> NDArray[np.bool_]:
    """Say which classes share a limit: those of which too few rows are expected.

    Where these are too few together, the next smallest classes join them. Bool (C,).
    """
    enough = SLACK * needed
    is_pooled_C = expected_C < enough
    for number in np.argsort(expected_C, kind="stable"):
        if not is_pooled_C.any() or expected_C[is_pooled_C].sum() >= enough:
            break
        is_pooled_C[number] = True
    return is_pooled_C


def num_groups(is_pooled_C: NDArray[np.bool_]) -> int:
    """Count the limits that such classes have."""
    return int((~is_pooled_C).sum()) + int(is_pooled_C.any())


def fit_class_limits(
    p_N: NDArray[np.float64],
    predicted_N: NDArray[np.int64],
    is_pooled_C: NDArray[np.bool_],
    allowed: Callable[[int], int],
) -> ClassLimits:
    """Put the limit of each group beyond as many of its rows as are allowed.

    p_N is that of the calibration rows among themselves; allowed says for the rows of a group how
    many of them may be farther than the limit, -1 where they are too few for any limit: then no
    ad of the group is ever far.
    """
    alpha_C = np.zeros(len(is_pooled_C))
    for classes in _groups(is_pooled_C):
        p_sorted = np.sort(p_N[np.isin(predicted_N, classes)])
        most = allowed(len(p_sorted))
        if 0 <= most < len(p_sorted):
            # below the p of the row that is just not too far, above all that are farther
            alpha_C[classes] = p_sorted[most] - 0.5 / (len(p_N) + 1)
    num_rows_C = np.bincount(predicted_N, minlength=len(is_pooled_C))
    return ClassLimits(alpha_C, num_rows_C.astype(np.int64), is_pooled_C)


def conformal_allowed(num_rows: int, alpha: float) -> int:
    """Return how many of so many rows may be farther than an ad with a p of at most alpha.

    -1 where p can never be so small.
    """
    return math.floor(alpha * (num_rows + 1) * (1 + 1e-12)) - 1


def _groups(is_pooled_C: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    for number in np.flatnonzero(~is_pooled_C):
        yield np.array([number])
    if is_pooled_C.any():
        yield np.flatnonzero(is_pooled_C)

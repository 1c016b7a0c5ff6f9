"""Which classes have a limit of their own, which are pooled, and what becomes of the test ads."""

from dataclasses import dataclass

import numpy as np

from rubert_ood.ood.decision import Decisions
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.limits import d2_at, decides_by_d2


@dataclass(frozen=True)
class ClassLimit:
    """Where far begins for ads of a predicted class, and how many test ads lie there."""

    label: str
    is_pooled: bool
    """It shares its limit with the other classes that are pooled."""
    num_rows: int
    """Calibration ads that are predicted as the class."""
    p_limit: float
    """An ad is far at a conformal p, over all calibration ads, of at most this."""
    d2_limit: float | None
    """That is above this d2; None: never, or another detector than Mahalanobis decides."""
    num_test: int
    """Test ads that are predicted as the class."""
    far: float | None
    """Share of them that is far; None without any."""


def class_limits(fitted: FittedModel, test: Decisions) -> list[ClassLimit]:
    """Describe the limits of the classes, in their order; empty where one limit serves all."""
    limits = fitted.thresholds.by_class
    if limits is None:
        return []
    by_d2 = decides_by_d2(fitted.decision)
    num_classes = len(fitted.labels)
    num_test_C = np.bincount(test.predicted_N, minlength=num_classes)
    num_far_C = np.bincount(test.predicted_N[test.is_far_N], minlength=num_classes)
    found = []
    for number, label in enumerate(fitted.labels):
        alpha = float(limits.alpha_C[number])
        num_test = int(num_test_C[number])
        limit = ClassLimit(
            label=label,
            is_pooled=bool(limits.is_pooled_C[number]),
            num_rows=int(limits.num_rows_C[number]),
            p_limit=alpha,
            d2_limit=d2_at(alpha, fitted.thresholds) if alpha and by_d2 else None,
            num_test=num_test,
            far=float(num_far_C[number]) / num_test if num_test else None,
        )
        found.append(limit)
    return found

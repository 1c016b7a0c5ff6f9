"""The limits of the classes, as ood_threshold.json has them; older bundles have one for all."""

from collections.abc import Sequence

import numpy as np

from rubert_ood.bundle.documents import ClassLimitDocument
from rubert_ood.ood.class_limits import ClassLimits
from rubert_ood.ood.fit import FittedModel


def class_limits(
    listed: Sequence[ClassLimitDocument] | None, labels: list[str]
) -> ClassLimits | None:
    """Read the limits. Raises ValueError unless there is one of each class, in their order."""
    if listed is None:
        return None
    if [limit.label for limit in listed] != labels:
        raise ValueError("class_limits are not those of the classes, in their order")
    return ClassLimits(
        np.array([limit.alpha for limit in listed]),
        np.array([limit.num_rows for limit in listed]),
        np.array([limit.is_pooled for limit in listed]),
    )


def class_limits_entry(fitted: FittedModel) -> dict[str, list[dict[str, object]]]:
    """Return what ood_threshold.json says of them; nothing where one limit serves all."""
    by_class = fitted.thresholds.by_class
    if by_class is None:
        return {}
    listed = []
    for number, label in enumerate(fitted.labels):
        limit = ClassLimitDocument(
            label=label,
            alpha=float(by_class.alpha_C[number]),
            num_rows=int(by_class.num_rows_C[number]),
            is_pooled=bool(by_class.is_pooled_C[number]),
        )
        listed.append(limit.model_dump())
    return {"class_limits": listed}

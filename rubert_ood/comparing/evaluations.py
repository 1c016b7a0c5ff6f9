"""Set what two bundles say of themselves side by side."""

from rubert_ood.bundle.evaluation import EvaluationSummary
from rubert_ood.comparing.document import ClassChange, EvaluationChanges, HeadlineChange

HEADLINES = ("accuracy", "macro_f1", "ece_after", "ood_rate", "other_rate")


def compare_evaluations(
    a: EvaluationSummary | None, b: EvaluationSummary | None
) -> EvaluationChanges:
    """Compare the evaluations of two bundles; what one of them lacks is null.

    Each was measured on the test ads of its own training, which may be different ads.
    """
    added, removed = set[str](), set[str]()
    if a and b:
        added, removed = set(b.labels) - set(a.labels), set(a.labels) - set(b.labels)
    return EvaluationChanges(
        headline=_headline(a, b),
        per_class=_per_class(a, b),
        labels_added=sorted(added),
        labels_removed=sorted(removed),
    )


def _headline(
    a: EvaluationSummary | None, b: EvaluationSummary | None
) -> list[HeadlineChange]:
    """Compare the numbers that one of them has."""
    rows = []
    for name in HEADLINES:
        number_a = getattr(a.headline, name) if a else None
        number_b = getattr(b.headline, name) if b else None
        if number_a is not None or number_b is not None:
            change = _change(number_a, number_b)
            rows.append(HeadlineChange(name=name, a=number_a, b=number_b, change=change))
    return rows


def _per_class(
    a: EvaluationSummary | None, b: EvaluationSummary | None
) -> list[ClassChange]:
    """Compare F1, the class that lost most first."""
    f1_a = a.f1_by_class() if a else {}
    f1_b = b.f1_by_class() if b else {}
    rows = []
    for label in sorted({*f1_a, *f1_b}):
        was, now = f1_a.get(label), f1_b.get(label)
        rows.append(ClassChange(label=label, a=was, b=now, change=_change(was, now)))
    return sorted(rows, key=lambda row: row.change or 0.0)


def _change(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a

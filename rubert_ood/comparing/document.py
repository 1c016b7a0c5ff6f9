"""What diff.json says: two runs compared ad by ad, as typed records.

A and B are the runs before and after. Rates are null where there are no ads to divide by.
"""

from typing import Self

from pydantic import ConfigDict, Field

from rubert_ood.runs.plan import BundleName
from rubert_ood.runs.record import Count, Record

FORMAT = 1
"""Of diff.json. Files of 0.3.0 and before have no number, and the same shape."""


class Named(Record):
    """A record with keys that are not names of Python: it is made by its own names."""

    model_config = ConfigDict(populate_by_name=True)


class Side(Record):
    """One of the two runs."""

    rows: Count
    run_uri: str
    run_id: str
    run_date: str
    bundle: BundleName
    outcome: str


class Sum(Record):
    """Counts that add up field by field over partitions; lists are joined."""

    def __add__(self, other: Self) -> Self:
        names = type(self).model_fields
        return type(self)(
            **{name: getattr(self, name) + getattr(other, name) for name in names}
        )


class Ads(Sum):
    """Ads by where they are, those with duplicate ids left out."""

    both: Count
    only_a: Count
    only_b: Count


class Duplicates(Sum):
    """Ids that occur more than once in A or in B, and the rows that have them."""

    ids: Count
    rows_a: Count
    rows_b: Count


class TextSum(Sum):
    """Ads in both, by whether their cleaned text is the same, and those whose label changed."""

    same: Count
    same_label_changed: Count
    changed: Count
    changed_label_changed: Count


class Texts(TextSum):
    """The same, and the shares of those whose label changed."""

    same_churn_rate: float | None
    changed_churn_rate: float | None


class Example(Record):
    """An ad of both runs."""

    ad_id: str
    confidence_a: float | None
    confidence_b: float | None
    same_text: bool


class OodExample(Named, Example):
    """An ad that is OOD in one of the runs; its distance is the one that it was flagged with."""

    label_a: str = Field(alias="from")
    label_b: str = Field(alias="to")
    distance: float | None


class Transition(Named):
    """Ads that had one label and have another, and a few of which both runs were most sure."""

    label_a: str = Field(alias="from")
    label_b: str = Field(alias="to")
    count: Count
    examples: list[Example]


class Flags(Sum):
    """Ads in both runs, by what a flag was and is."""

    both: Count
    became: Count
    no_longer: Count
    neither: Count


class OodFlags(Flags):
    """The farthest of those that became OOD, and of those that no longer are."""

    became_examples: list[OodExample]
    no_longer_examples: list[OodExample]


class Confidence(Record):
    """Means over the ads that have a confidence in both runs."""

    num: Count
    mean_a: float | None
    mean_b: float | None
    mean_change: float | None


class LabelCounts(Record):
    """in_a = stayed + left + only_a, in_b = stayed + joined + only_b."""

    label: str
    in_a: Count
    in_b: Count
    stayed: Count
    left: Count
    joined: Count
    only_a: Count
    only_b: Count


class Change(Record):
    """A number in A and in B; null where one of them lacks it."""

    a: float | None
    b: float | None
    change: float | None


class HeadlineChange(Change):
    """One number of the headline, in A and in B."""

    name: str


class ClassChange(Change):
    """F1 of one class, in A and in B."""

    label: str


class EvaluationChanges(Record):
    """The evaluations of two bundles side by side."""

    headline: list[HeadlineChange]
    per_class: list[ClassChange]
    labels_added: list[str]
    labels_removed: list[str]


class DiffDocument(Named):
    """What differs between two runs."""

    format: int = FORMAT
    a: Side
    b: Side
    ads: Ads
    duplicates: Duplicates = Field(alias="repeated")
    changed: Count
    """Ads in both whose label changed."""
    churn_rate: float | None
    """Their share of the ads in both."""
    texts: Texts
    transitions: list[Transition]
    """Most frequent first."""
    ood: OodFlags
    other: Flags
    confidence: Confidence
    labels: list[LabelCounts]
    """Labels of most ads first."""
    evaluations: EvaluationChanges | None = None
    """Of two bundles."""


class ChangedPair(Record):
    """Ads whose class went from one to another."""

    label_a: str
    label_b: str
    count: Count
    examples: list[str]
    """Ad ids."""


class ChangedLabels(Record):
    """What the report of run B shows of a comparison with the run before."""

    num_both: Count
    churn_rate: float
    pairs: list[ChangedPair]
    """Most frequent first."""


def changed_labels(document: DiffDocument) -> ChangedLabels | None:
    """Return what the report of run B shows of a comparison; None when no ad is in both."""
    if document.churn_rate is None:
        return None
    pairs = []
    for transition in document.transitions:
        pair = ChangedPair(
            label_a=transition.label_a,
            label_b=transition.label_b,
            count=transition.count,
            examples=[example.ad_id for example in transition.examples],
        )
        pairs.append(pair)
    return ChangedLabels(
        num_both=document.ads.both, churn_rate=document.churn_rate, pairs=pairs
    )

"""What promotion.json says: a bundle, the champion that it was compared with, and what came of it.

Numbers of the new bundle come first; those of the champion are None where there was none.
"""

from typing import Literal

from pydantic import Field, TypeAdapter

from rubert_ood.runs.manifest import Check
from rubert_ood.runs.plan import BundleName
from rubert_ood.runs.record import Count, Moment, Record

FORMAT = 1


class Measures(Record):
    """What a bundle does on the test ads, and how fast it is."""

    accuracy: float
    """Of the best class, whatever the label."""
    macro_f1: float
    ece: float
    """Expected calibration error, after T."""
    false_alarms: float
    """Share of the test ads flagged out of domain."""
    other_rate: float
    """Share of the test ads labelled Other; an ad that this bundle alone cannot read is one."""
    ood_auroc: dict[str, float] = Field({})
    """By kind of OOD text: how d2, or ood_p of another detector, keeps it apart from test ads."""
    ads_per_s: float
    """From the text to the decision, on the machine of the comparison."""


class Change(Record):
    """A number of the new bundle less that of the champion, with the interval of the bootstrap."""

    value: float
    lower: float
    upper: float


class Discordant(Record):
    """Test ads that only one of the two gets right, and McNemar's exact test of them."""

    only_new: Count
    only_champion: Count
    p: float
    """Probability of a difference as large, or larger, if both were as good; of classes for all of
    them together (Benjamini and Hochberg)."""


class ClassRow(Record):
    """One class on the test ads."""

    label: str
    support: Count
    f1: float
    champion_f1: float | None = None
    change: Change | None = None
    """Of F1."""
    discordant: Discordant | None = None
    """Among the ads of this class, and those that either takes for it."""


class ConfusionRow(Record):
    """Test ads of one class that are taken for another."""

    true: str
    predicted: str
    count: Count
    champion_count: Count | None = None


class LabelMove(Record):
    """Ads of the sample whose label goes from one to another."""

    champion_label: str
    label: str
    count: Count


class Churn(Record):
    """How the labels of the sample change."""

    num_ads: Count
    changed: Count
    moves: list[LabelMove]
    """Most frequent first."""

    @property
    def rate(self) -> float:
        """Share of the ads whose label changes."""
        return self.changed / max(self.num_ads, 1)


class Comparison(Record):
    """What was measured."""

    test_uri: str
    num_ads: Count
    """Test ads that both can read."""
    num_unreadable: Count
    """Test ads that one of them cannot read, or that are not UTF-8: not compared."""
    sample_uri: str | None = None
    device: str
    new: Measures
    champion: Measures | None = None
    accuracy: Change | None = None
    macro_f1: Change | None = None
    discordant: Discordant | None = None
    classes: list[ClassRow]
    """In the order of their names."""
    confusions: list[ConfusionRow]
    """Those that changed most first."""
    churn: Churn | None = None
    speed_ratio: float | None = None
    """Ads per second over those of the champion: the median over pieces that both read in turn."""
    labels_added: list[str] = Field([])
    labels_removed: list[str] = Field([])


class Promotion(Record):
    """A bundle that was to become the champion."""

    format: int = FORMAT
    bundle: BundleName
    champion: BundleName | None = None
    """What it replaces; None for the first bundle. `comparison.champion` is None where that could
    not be read, and force passed over it."""
    created_at: Moment
    code_version: str
    confidence: float
    """Of the intervals."""
    comparison: Comparison
    checks: list[Check]
    outcome: Literal["accepted", "refused", "forced"]
    forced: str | None = None
    """Why it was promoted whatever the limits said."""
    refusal_reason: str = ""

    @property
    def failed(self) -> list[Check]:
        """The limits that are not kept."""
        return [check for check in self.checks if not check.ok]


PROMOTION = TypeAdapter(Promotion)

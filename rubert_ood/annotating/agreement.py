"""How far annotators agree, and how right a run is by its random control."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers with its interval."""

    num_right: int
    num: int
    confidence: float = 0.95

    @property
    def value(self) -> float:
        """The share; 0 of none."""
        return self.num_right / self.num if self.num else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval. Source: Wilson 1927; Brown, Cai and DasGupta 2001."""
        if not self.num:
            return 0.0, 1.0
        test = binomtest(self.num_right, self.num)
        found = test.proportion_ci(self.confidence, method="wilson")
        return float(found.low), float(found.high)


def krippendorff_alpha(units: Iterable[Sequence[str]]) -> float | None:
    """Return Krippendorff's alpha of nominal answers: 1 is full agreement, 0 that of chance.

    units: the answers to each ad; ads with one answer say nothing. None where there is no pair, or
    a single answer to all. Source: Krippendorff 2011, computing Krippendorff's alpha-reliability.
    """
    totals: Counter[str] = Counter()
    disagreement, num = 0.0, 0
    for answers in units:
        size = len(answers)
        if size < 2:
            continue
        counts = Counter(answers)
        totals += counts
        num += size
        alike = sum(count * (count - 1) for count in counts.values())
        disagreement += (size * (size - 1) - alike) / (size - 1)
    expected = num * num - sum(count * count for count in totals.values())
    if not expected:
        return None
    return 1 - (num - 1) * disagreement / expected

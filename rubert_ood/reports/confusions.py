"""Who is taken for whom, as a matrix: each cell leads to what is known of that pair."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rubert_ood.comparing.document import Transition
from rubert_ood.reports.evaluation import Confusion

MAX_LABELS = 20
"""Rows, and columns, of a matrix; the list below it has every pair."""
SHADES = 4


@dataclass(frozen=True)
class Pair:
    """Ads that went from one label to another."""

    number: int
    """Of its place in the list: where a click on the cell leads."""
    row: str
    column: str
    count: int


@dataclass(frozen=True)
class PairMatrix:
    """Counts by row and column; None where no pair is listed."""

    columns: list[str]
    rows: list[tuple[str, list[Pair | None]]]
    most: int
    """The largest count."""

    def shade(self, pair: Pair) -> int:
        """Return 1 for few ads to SHADES for many, by the square root of the count."""
        share = (pair.count / self.most) ** 0.5
        return max(1, min(SHADES, round(share * SHADES)))


def confusion_matrix(confusions: Sequence[Confusion]) -> PairMatrix | None:
    """Lay out the true classes (rows) and what they are taken for; None without mistakes."""
    found = enumerate(confusions, start=1)
    return _matrix(Pair(n, one.true, one.predicted, one.count) for n, one in found)


def transition_matrix(transitions: Sequence[Transition]) -> PairMatrix | None:
    """Lay out the labels of A (rows) and of B; None when no label changed."""
    found = enumerate(transitions, start=1)
    return _matrix(Pair(n, one.label_a, one.label_b, one.count) for n, one in found)


def _matrix(found: Iterable[Pair]) -> PairMatrix | None:
    pairs = {(pair.row, pair.column): pair for pair in found}
    if not pairs:
        return None
    left, joined = Counter[str](), Counter[str]()
    for pair in pairs.values():
        left[pair.row] += pair.count
        joined[pair.column] += pair.count
    columns = _frequent(joined)
    rows = [
        (row, [pairs.get((row, column)) for column in columns]) for row in _frequent(left)
    ]
    return PairMatrix(columns, rows, max(pair.count for pair in pairs.values()))


def _frequent(counts: Counter[str]) -> list[str]:
    """Return the labels of most ads, by name."""
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    return sorted(ranked[:MAX_LABELS])

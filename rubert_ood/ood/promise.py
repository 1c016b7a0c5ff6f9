"""What labelled rows can promise of all ads like them: a share and a confidence, by exact tests.

Of rows that are drawn like the ads to come, and had no say in what is tested, the number that go
wrong is binomial. Nothing is approximated, so the promise holds for any number of rows; it is about
ads like those rows, and ends where the ads change.

Shapes: T hypotheses, in the order in which they are tested.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

PromiseKind = Literal["precision", "flagged", "flagged_per_class"]

POWER = 0.8
"""How often rows that are called enough show what is true."""
MOST_ROWS = 10**9
"""So many labelled rows nobody has."""


@dataclass(frozen=True)
class Promise:
    """What a bundle promises of ads like the rows that tested it.

    Raises ValueError where it makes no sense.
    """

    kind: PromiseKind
    """precision: of the kept ads at least `level` are right. flagged: of ordinary ads at most
    `level` are flagged; flagged_per_class: of those of each predicted class, small ones together.
    """
    level: float
    confidence: float
    """How sure it is that all promises of the bundle hold at once."""
    num_rows: int
    """Rows that tested it: kept ads, or ordinary ads."""
    num_against: int
    """Those of them that are wrong, or far."""

    def __post_init__(self) -> None:
        if not (0 < self.level < 1 and 0 < self.confidence < 1):
            raise ValueError("level and confidence of a promise lie between 0 and 1")
        if not 0 <= self.num_against <= self.num_rows:
            raise ValueError("a promise counts more rows against it than it has")

    def in_words(self) -> str:
        """Say it in one sentence, with the rows that it rests on."""
        sure = f"With a confidence of {self.confidence:.4g}"
        rows = f"{self.num_rows:,}"
        if self.kind == "precision":
            what = f"at least {self.level:.4g} of the kept ads are right"
            return f"{sure} {what} (of {rows} kept ads {self.num_against:,} are wrong)."
        what = f"at most {self.level:.4g} of the ordinary ads"
        if self.kind == "flagged_per_class":
            what += " of each class"
        return f"{sure} {what} are flagged (of {rows} ads {self.num_against:,} are far)."


def p_value(num_bad: ArrayLike, num_rows: ArrayLike, limit: float) -> NDArray[np.float64]:
    """Return P(Bin(num_rows, limit) <= num_bad), p of "more than `limit` of such rows are bad".

    1 where there are no rows. The exact binomial tail; num_bad / num_rows has `limit` as its upper
    Clopper-Pearson bound exactly where p is 1 - confidence (Clopper and Pearson 1934).
    """
    bad, rows = np.asarray(num_bad, np.float64), np.asarray(num_rows, np.int64)
    return np.asarray(bdtr(bad, rows, limit), np.float64)


def last_rejected(p_T: NDArray[np.float64], start: int, risk: float) -> int | None:
    """Test from `start` on, until one is not rejected: return the last that is; None without one.

    Fixed-sequence testing (Angelopoulos et al. 2021, Learn then Test, arXiv 2110.01052, section
    2.3): each hypothesis may be tested at the whole risk, because a true one ends the sequence
    unless it is rejected, which happens with a probability of at most `risk`. Order and start must
    not depend on the rows that p comes from.
    """
    stops = np.flatnonzero(p_T[start:] > risk)
    tested = int(stops[0]) if len(stops) else len(p_T) - start
    return start + tested - 1 if tested else None


def most_allowed(num_rows: int, limit: float, risk: float) -> int:
    """Return how many bad rows still show that at most `limit` are bad; -1: none would be too many.

    The largest m with P(Bin(num_rows, limit) <= m) <= risk.
    """
    enough, too_many = -1, num_rows
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if p_value(middle, num_rows, limit) <= risk:
            enough = middle
        else:
            too_many = middle
    return enough


def least_rows(limit: float, risk: float) -> int:
    """Return the least number of rows that can show it, without a bad one among them.

    The smallest n with (1 - limit) ** n <= risk.
    """
    return _first(lambda rows: most_allowed(rows, limit, risk) >= 0)


def rows_needed(limit: float, seen: float, risk: float) -> int | None:
    """Return about how many rows show it in 4 of 5 draws, if really `seen` of such rows are bad.

    None where no number does, because that is `limit` or more.
    """
    if seen >= limit:
        return None

    def is_enough(rows: int) -> bool:
        allowed = most_allowed(rows, limit, risk)
        return allowed >= 0 and float(p_value(allowed, rows, seen)) >= POWER

    found = _first(is_enough)
    return found if found <= MOST_ROWS else None


def _first(is_enough: Callable[[int], bool]) -> int:
    """Return the number from which on it is enough: doubled until it is, then halved the way."""
    too_few, enough = 0, 1
    while not is_enough(enough) and enough <= MOST_ROWS:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if is_enough(middle):
            enough = middle
        else:
            too_few = middle
    return enough

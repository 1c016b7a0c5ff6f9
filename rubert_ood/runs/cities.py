"""Count the ads of cities that training has not seen: the cleaner leaves such a name in the
text."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rubert_ood.ads.text import TextCleaner, normalised

MAX_NAMES = 20
"""Unseen names that a receipt, and the manifest, keep."""
NAME_CHARACTERS = 100


class CityCounter:
    """Counts ads with a city, those whose city is unseen, and the unseen names as the cleaner
    spells them."""

    def __init__(self, cleaner: TextCleaner) -> None:
        self._seen = set(cleaner.cities)
        self._rows = 0
        self._unseen = Counter[str]()

    def add(self, city: str | bytes | None) -> None:
        """Count the city of one ad; a name that is missing, blank or not UTF-8 (bytes) does not
        count."""
        name = normalised(city) if isinstance(city, str) else ""
        if name:
            self._rows += 1
            self._unseen.update([name[:NAME_CHARACTERS]] if name not in self._seen else [])

    def counts(self) -> dict[str, Any]:
        """Return the ads, the ads of unseen cities, and the most frequent unseen names."""
        unseen = _most_frequent(self._unseen)
        return {"rows": self._rows, "rows_unseen": self._unseen.total(), "unseen": unseen}


def add_cities(found: Iterable[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Add the counts of shards up; None if no shard has any. Names that are rare in every shard may
    be missing."""
    known = [cities for cities in found if cities]
    unseen = Counter[str]()
    for cities in known:
        unseen.update(cities["unseen"])
    sums = {name: sum(cities[name] for cities in known) for name in ("rows", "rows_unseen")}
    return {**sums, "unseen": _most_frequent(unseen)} if known else None


def _most_frequent(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_NAMES])

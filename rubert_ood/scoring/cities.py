"""Count the ads of cities that training has not seen: the cleaner leaves such a name in the text."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rubert_ood.ads.schema import as_text, decoded
from rubert_ood.ads.text import TextCleaner, normalised

MAX_NAMES = 20
"""Unseen names that a receipt, and the manifest, keep."""
NAME_CHARACTERS = 100


def count_cities(column: pa.ChunkedArray, cleaner: TextCleaner) -> dict[str, Any]:
    """Count ads with a city, those whose city is unseen, and the most frequent unseen names as the cleaner spells them.

    A name that is missing, blank or not UTF-8 is no city.
    """
    values = pc.value_counts(as_text(column))
    seen, counts = set(cleaner.cities), Counter[str]()
    for value, count in zip(decoded(values.field("values")), values.field("counts").to_pylist(), strict=True):
        if isinstance(value, str) and (name := normalised(value)):
            counts[name] += count
    unseen = Counter[str]()
    for name, count in counts.items():
        if name not in seen:
            unseen[name[:NAME_CHARACTERS]] += count
    return {"rows": counts.total(), "rows_unseen": unseen.total(), "unseen": _most_frequent(unseen)}


def add_cities(found: Iterable[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Add the counts of shards up; None if no shard has any. Names that are rare in every shard may be missing."""
    known = [cities for cities in found if cities]
    unseen = Counter[str]()
    for cities in known:
        unseen.update(cities["unseen"])
    sums = {name: sum(cities[name] for cities in known) for name in ("rows", "rows_unseen")}
    return {**sums, "unseen": _most_frequent(unseen)} if known else None


def _most_frequent(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_NAMES])

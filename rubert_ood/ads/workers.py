"""Who looks at every labelled ad: this process, or a cluster (`training/ray_workers.py`)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import pyarrow as pa

from rubert_ood.ads.labelled_ads import Ads, LabelledAds

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """Runs a function for each of some items."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Yield the results in the order of the items; errors of this package keep their class."""

    def make_ads(
        self, function: Callable[[Item], list[pa.Table]], items: Sequence[Item]
    ) -> list[Ads]:
        """Make blocks for each item, one for each split; return the ads of each split."""


class LocalWorkers:
    """This process alone: a loop."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Yield the results in the order of the items."""
        return map(function, items)

    def make_ads(
        self, function: Callable[[Item], list[pa.Table]], items: Sequence[Item]
    ) -> list[Ads]:
        """Return the ads of each split, in memory."""
        by_split = zip(*map(function, items), strict=True)
        return [LabelledAds.of(blocks) for blocks in by_split]

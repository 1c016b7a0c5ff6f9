"""A cluster looks at every labelled ad; texts stay in its object store."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from rubert_ood.ads.labelled_ads import Ads
from rubert_ood.ads.splits import SPLITS
from rubert_ood.ads.workers import Item, Result
from rubert_ood.training.cluster_ads import ClusterAds, facts_of
from rubert_ood.training.ray_tasks import results, run_tasks


class RayWorkers:
    """Ray tasks, one for each item; Ray must have been started."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Yield the results in the order of the items; errors of this package keep their class."""
        (references,) = run_tasks(function, items)
        return results(references)

    def make_ads(
        self, function: Callable[[Item], list[pa.Table]], items: Sequence[Item]
    ) -> list[Ads]:
        """Return the ads of each split; of each item only numbers and classes come here."""
        described = partial(_with_facts, function=function)
        facts, *by_split = run_tasks(described, items, 1 + len(SPLITS))
        by_item = list(results(facts))
        ads = list[Ads]()
        for number, blocks in enumerate(by_split):
            ads.append(ClusterAds.of(blocks, [found[number] for found in by_item]))
        return ads


def _with_facts(
    item: Item, *, function: Callable[[Item], list[pa.Table]]
) -> tuple[list[np.ndarray] | pa.Table, ...]:
    """Return what the driver wants to know, and the blocks."""
    blocks = function(item)
    return ([facts_of(block) for block in blocks], *blocks)

"""Ads whose texts lie in the object store of a cluster, which spills to disk.

The driver holds the number and the class of each ad. Shapes: N ads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar, overload

import numpy as np
import pyarrow as pa
import ray

from rubert_ood.ads.ad_block import (
    TRAITS,
    digest_of,
    digest_sums,
    num_with_two,
    seen_keys,
    two_texts,
)
from rubert_ood.ads.labelled_ads import Ads, LabelledAds, traits_of
from rubert_ood.training.ray_tasks import results, run_tasks

T = TypeVar("T")
BLOCK_ADS = 512
"""Ads of this process that travel together."""


@dataclass(frozen=True)
class ClusterAds:
    """The ads of a split, by their numbers within the training, in blocks (`ads/ad_block.py`)."""

    blocks: tuple[ray.ObjectRef, ...]
    rows_N: np.ndarray
    """int32 (N,), ascending."""
    labels_N: np.ndarray
    """int32 (N,), in this order."""

    @classmethod
    def of(
        cls, blocks: Sequence[ray.ObjectRef], facts: Sequence[np.ndarray]
    ) -> "ClusterAds":
        """Take blocks, with the `facts_of` each."""
        facts_2N = np.concatenate([np.empty((2, 0), np.int32), *facts], axis=1)
        rows_N, labels_N = facts_2N[:, np.argsort(facts_2N[0], kind="stable")]
        filled = []
        for block, fact in zip(blocks, facts, strict=True):
            if fact.size:
                filled.append(block)
        return cls(tuple(filled), rows_N, labels_N)

    def __len__(self) -> int:
        return len(self.rows_N)

    def take(self, rows: np.ndarray) -> "ClusterAds":
        """Return some of the ads, by their numbers in ascending order."""
        if len(rows) == len(self):
            return self
        chosen = partial(_chosen, rows_N=self.rows_N[rows])
        blocks, facts = run_tasks(chosen, self.blocks, num_returns=2)
        return ClusterAds.of(blocks, list(results(facts)))

    def here(self) -> LabelledAds:
        """Bring the ads into the memory of this process."""
        return LabelledAds.of(results(self.blocks))

    @property
    def texts(self) -> Sequence[str]:
        """The cleaned texts; each one is brought here when it is asked for."""
        return _Texts(self.blocks, self._each(facts_of))

    @cached_property
    def traits(self) -> dict[str, list[str]]:
        """By trait, the slice of the evaluation that each ad lies in; of test ads only."""
        found = pa.concat_tables(self._each(_traits_of)).sort_by("row")
        return traits_of(found)

    def digest(self) -> str:
        """Return what tells these ads, in their order, from others."""
        return digest_of(self._each(digest_sums))

    def keys(self) -> np.ndarray:
        """Return the key of each text: uint64 (N,)."""
        found = pa.concat_tables(self._each(_keys_of)).sort_by("row")
        return np.asarray(found["key"])

    def seen(self, keys: np.ndarray) -> np.ndarray:
        """Return those of the keys that a text here has, each once."""
        found = self._each(partial(seen_keys, keys_N=keys))
        return np.unique(np.concatenate([keys[:0], *found]))

    def num_with_two_texts(self) -> int:
        """Count the classes that have two different texts."""
        return num_with_two(self._each(two_texts))

    def _each(self, function: Callable[[pa.Table], T]) -> list[T]:
        """Call a function for each block, where the block lies."""
        (references,) = run_tasks(function, self.blocks)
        return list(results(references))


def facts_of(block: pa.Table) -> np.ndarray:
    """Return number and class of each ad: int32 (2, N)."""
    return np.stack(
        [np.asarray(block[name]).astype(np.int32) for name in ("row", "label")]
    )


def _chosen(block: pa.Table, rows_N: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """Return those rows of a block, with their facts."""
    kept = block.filter(np.isin(np.asarray(block["row"]), rows_N))
    return kept, facts_of(kept)


def _traits_of(block: pa.Table) -> pa.Table:
    there = [name for name in TRAITS if name in block.schema.names]
    return block.select(["row", *there])


def _keys_of(block: pa.Table) -> pa.Table:
    return block.select(["row", "key"])


class _Texts(Sequence[str]):
    """Texts in blocks, in the order of their rows."""

    def __init__(
        self, blocks: Sequence[ray.ObjectRef], facts: Sequence[np.ndarray]
    ) -> None:
        self._blocks = blocks
        sizes = [fact.shape[1] for fact in facts]
        rows_N = np.concatenate([fact[0] for fact in facts])
        order_N = np.argsort(rows_N, kind="stable")
        self._block_N = np.repeat(np.arange(len(sizes)), sizes)[order_N]
        self._place_N = np.concatenate([np.arange(size) for size in sizes])[order_N]

    def __len__(self) -> int:
        return len(self._block_N)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        block = ray.get(self._blocks[self._block_N[index]])
        return str(block["text"][int(self._place_N[index])].as_py())


def blocks_of(ads: Ads, start: int = 0) -> list[ray.ObjectRef]:
    """Return the blocks of ads; those of this process are put, with rows from `start` on."""
    if isinstance(ads, ClusterAds):
        return [*ads.blocks]
    block = ads.here().block(start)
    starts = range(0, max(1, block.num_rows), BLOCK_ADS)
    return [ray.put(block.slice(first, BLOCK_ADS)) for first in starts]


def rows_of(ads: Ads, start: int = 0) -> np.ndarray:
    """Return the numbers of the rows in these blocks, ascending: (N,)."""
    if isinstance(ads, ClusterAds):
        return ads.rows_N
    return np.arange(start, start + len(ads))

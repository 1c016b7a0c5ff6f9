"""Cleaned ads with their class, wherever their texts lie.

Shapes: N ads.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from rubert_ood.ads.ad_block import (
    TRAITS,
    ad_block,
    digest_of,
    digest_sums,
    num_with_two,
    seen_keys,
    two_texts,
)
from rubert_ood.ads.traits import city_slices


class Ads(Protocol):
    """The ads of a split; the texts need not be in this process."""

    @property
    def labels_N(self) -> np.ndarray:
        """Integers (N,), an index into the label vocabulary."""

    @property
    def texts(self) -> Sequence[str]:
        """The cleaned texts; one at a time is brought here where they lie elsewhere."""

    @property
    def traits(self) -> dict[str, list[str]]:
        """By trait, the slice of the evaluation that each ad lies in; of test ads only."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> "Ads":
        """Return some of the ads, by their numbers in ascending order."""

    def here(self) -> "LabelledAds":
        """Bring the ads into the memory of this process."""

    def digest(self) -> str:
        """Return what tells these ads, in their order, from others."""

    def keys(self) -> np.ndarray:
        """Return the key of each text: uint64 (N,)."""

    def seen(self, keys: np.ndarray) -> np.ndarray:
        """Return those of the keys that a text here has, each once."""

    def num_with_two_texts(self) -> int:
        """Count the classes that have two different texts."""


@dataclass(frozen=True)
class LabelledAds:
    """Ads in the memory of this process, in input order or that of the split."""

    texts: list[str]
    labels_N: np.ndarray
    """int64 (N,), an index into the label vocabulary."""
    traits: dict[str, list[str]] = field(default_factory=dict)
    """By trait, the slice of the evaluation that each ad lies in; of test ads only."""

    @classmethod
    def of(cls, blocks: Iterable[pa.Table]) -> "LabelledAds":
        """Take the ads out of blocks (`ad_block.py`), by their row."""
        table = pa.concat_tables(blocks).sort_by("row")
        labels_N = np.asarray(table["label"])
        return cls(table["text"].to_pylist(), labels_N, traits_of(table))

    def block(self, start: int = 0) -> pa.Table:
        """Return the ads as a block, with rows numbered from `start` on."""
        rows_N = np.arange(start, start + len(self))
        return ad_block(rows_N, self.labels_N, self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> "LabelledAds":
        """Return some of the ads, by their numbers."""
        traits = {name: _chosen(values, rows) for name, values in self.traits.items()}
        return LabelledAds(_chosen(self.texts, rows), self.labels_N[rows], traits)

    def here(self) -> "LabelledAds":
        """Return the ads, which are here."""
        return self

    def digest(self) -> str:
        """Return what tells these ads, in their order, from others."""
        return digest_of([digest_sums(self.block())])

    def keys(self) -> np.ndarray:
        """Return the key of each text: uint64 (N,)."""
        return np.asarray(self.block()["key"])

    def seen(self, keys: np.ndarray) -> np.ndarray:
        """Return those of the keys that a text here has, each once."""
        return seen_keys(self.block(), keys)

    def num_with_two_texts(self) -> int:
        """Count the classes that have two different texts."""
        return num_with_two([two_texts(self.block())])


def traits_of(table: pa.Table) -> dict[str, list[str]]:
    """Return the slices that the rows of a block lie in; of other than test ads none."""
    if TRAITS[0] not in table.schema.names:
        return {}
    *names, city = TRAITS
    slices = {name: table[name].to_pylist() for name in names}
    cities = table[city].to_pylist()
    if any(cities):
        slices[city] = city_slices(cities)
    return slices


def _chosen(values: Sequence[str], rows: np.ndarray) -> list[str]:
    return [values[row] for row in rows]

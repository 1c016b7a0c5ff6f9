"""What is asked of every labelled ad before the split: its class, its city, perhaps its id.

Shapes: n rows of a shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rubert_ood.ads.labelled_table import LabelledShard
from rubert_ood.ads.labels import Rewriter
from rubert_ood.ads.schema import as_text, decoded
from rubert_ood.ads.splits import share_of
from rubert_ood.ads.text import ad_text

NO_CITY = -1


@dataclass(frozen=True)
class Survey:
    """What is wanted of a shard."""

    known: tuple[str, ...] = ()
    """Labels of which each must be one; none says nothing."""
    cities: bool = True
    hash_seed: int | None = None
    """For a split by hash."""


@dataclass(frozen=True)
class Surveyed:
    """A shard, as the driver knows it."""

    labels: list[str]
    """Those that occur, in normal form."""
    codes_n: np.ndarray
    """int32 (n,), an index into them."""
    cities: list[str]
    """Those that occur."""
    city_codes_n: np.ndarray
    """int32 (n,), an index into them, or NO_CITY; (0,) if not asked for."""
    shares_n: np.ndarray
    """float64 (n,) in [0, 1), by the hash of the id, or of the text of an ad that has none; (0,) if
    not asked for."""
    rewriter: Rewriter

    def __len__(self) -> int:
        return len(self.codes_n)


def survey_shard(shard: LabelledShard, wanted: Survey) -> Surveyed:
    """Read the columns that are needed; SchemaError as `normal_labels`."""
    roles = ["category"]
    if wanted.cities:
        roles.append("city")
    if wanted.hash_seed is not None:
        roles.append("ad_id")
    table = shard.read(roles)
    rewriter = Rewriter()
    normal = shard.normal_labels(table["category"], rewriter, wanted.known)
    labels, codes_n = _coded(normal.to_pylist())
    cities = _texts(table["city"]) if wanted.cities else []
    city_names, city_codes_n = _coded(cities)
    shares_n = np.empty(0)
    if wanted.hash_seed is not None:
        names = _names(shard, table["ad_id"])
        shares = [share_of(name, wanted.hash_seed) for name in names]
        shares_n = np.array(shares)
    return Surveyed(labels, codes_n, city_names, city_codes_n, shares_n, rewriter)


def _coded(values: Sequence[str | None]) -> tuple[list[str], np.ndarray]:
    """Number the different values; None is NO_CITY."""
    numbers: dict[str, int] = {}
    codes = []
    for value in values:
        code = NO_CITY if value is None else numbers.setdefault(value, len(numbers))
        codes.append(code)
    return list(numbers), np.array(codes, dtype=np.int32)


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """Return the values of a text column; what is not UTF-8 counts as none."""
    values = decoded(as_text(column))
    return [value if isinstance(value, str) else None for value in values]


def _names(shard: LabelledShard, ids: pa.ChunkedArray) -> list[str]:
    """Return what tells each ad from others: its id; its text where it has none."""
    names = _texts(ids)
    if all(names):
        return [name or "" for name in names]
    table = shard.read(["title", "description"])
    rows = zip(names, _texts(table["title"]), _texts(table["description"]), strict=True)
    return [name or ad_text(title, description) for name, title, description in rows]

"""Cleaned ads as a table: what lies in the object store of a cluster, or in this process.

Columns: row (int64, unique within a training), label (int64), key (uint64, of the text), text; of
test ads also the traits. Shapes: N rows.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from rubert_ood.ads.text import text_key

COLUMNS = ("row", "label", "key", "text")
TRAITS = ("length", "title", "capitals", "city")
TWO = 2
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX = (
    (30, 0xBF58476D1CE4E5B9),
    (27, 0x94D049BB133111EB),
)
SEEDS = (np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344))
"""Any two numbers will do."""


def ad_block(
    rows_N: np.ndarray,
    labels_N: np.ndarray,
    texts: list[str],
) -> pa.Table:
    """Make the table; the texts are cleaned."""
    keys = [int(text_key(text)[:16], 16) for text in texts]
    columns = (
        np.asarray(rows_N, dtype=np.int64),
        np.asarray(labels_N, dtype=np.int64),
        pa.array(keys, pa.uint64()),
        pa.array(texts, pa.string()),
    )
    return pa.table(dict(zip(COLUMNS, columns, strict=True)))


def digest_sums(block: pa.Table) -> np.ndarray:
    """Return two uint64 numbers that, added up over blocks, tell these ads from others.

    They depend on each ad's row, label and text, and not on how the ads are cut into blocks.
    """
    rows_N = np.asarray(block["row"]).astype(np.uint64)
    labels_N = np.asarray(block["label"]).astype(np.uint64)
    keys_N = np.asarray(block["key"])
    places_N = _mixed(rows_N * GOLDEN + labels_N)
    sums = []
    for seed in SEEDS:
        ads_N = _mixed(places_N + seed) ^ keys_N
        sums.append(_mixed(ads_N).sum())
    return np.array(sums, dtype=np.uint64)


def digest_of(sums: Iterable[np.ndarray]) -> str:
    """Write the sums of all blocks as hex."""
    with np.errstate(over="ignore"):
        total = sum(sums, np.zeros(len(SEEDS), np.uint64))
    return "".join(f"{int(number):016x}" for number in total)


def _mixed(numbers_N: np.ndarray) -> np.ndarray:
    """Mix the bits of each number, as splitmix64 does (Steele et al. 2014)."""
    mixed_N = numbers_N.copy()
    for shift, factor in MIX:
        mixed_N ^= mixed_N >> np.uint64(shift)
        mixed_N *= np.uint64(factor)
    return mixed_N ^ (mixed_N >> np.uint64(31))


Texts = dict[int, set[int]]
"""By class the keys of its texts, at most two of them."""


def two_texts(block: pa.Table) -> Texts:
    """Return up to two different texts of each class, by key."""
    found: Texts = {}
    labels_N = np.asarray(block["label"]).astype(np.uint64)
    pairs_N2 = np.stack([labels_N, np.asarray(block["key"])], axis=1)
    for label, key in np.unique(pairs_N2, axis=0).tolist():
        keys = found.setdefault(label, set())
        if len(keys) < TWO:
            keys.add(key)
    return found


def num_with_two(found: Iterable[Texts]) -> int:
    """Count the classes that have two different texts."""
    joined: Texts = {}
    for texts in found:
        for label, keys in texts.items():
            joined.setdefault(label, set()).update(keys)
    return sum(len(keys) >= TWO for keys in joined.values())


def seen_keys(block: pa.Table, keys_N: np.ndarray) -> np.ndarray:
    """Return those of the keys that a block has, each once."""
    return np.intersect1d(keys_N, np.asarray(block["key"]))

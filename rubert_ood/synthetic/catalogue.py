"""A generated catalogue of Russian private ads: 50 categories, hard cases and out-of-domain texts.

Everything is a function of its arguments, the seed among them; nothing is read but the YAML files
beside this module.
"""

import io
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import storage
from rubert_ood.synthetic.lexicon import (
    Category,
    categories_by_name,
    cities,
    load_data,
)
from rubert_ood.synthetic.ood import out_of_domain_texts
from rubert_ood.synthetic.text import AdWriter, Draft

__all__ = [
    "CATALOGUE_SCHEMA",
    "HardCase",
    "categories",
    "generate_ads",
    "hard_cases",
    "out_of_domain_texts",
    "write_catalogue",
]

CATALOGUE_SCHEMA = pa.schema(
    [
        ("ad_id", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("category", pa.string()),
        ("city", pa.string()),
        ("price", pa.int64()),
        ("published_at", pa.timestamp("s", tz="UTC")),
    ]
)

BLOCK_ROWS = 10_000
"""A balanced catalogue is balanced in each block of so many rows: memory stays bounded whatever the
total."""
REPOST_WINDOW = 30
"""A re-post repeats one of the last so many ads of its category."""
FIRST_AD_ID = 2_000_000_000
FIRST_DAY = datetime(2026, 6, 1, tzinfo=UTC)
NUM_DAYS = 120

Row = tuple[str, str, str, str, str, int | None, datetime]


@dataclass(frozen=True)
class HardCase:
    """A hand-written ad and the label that is expected of it."""

    text: str
    label: str


def categories() -> list[str]:
    """Return the names of the categories, sorted."""
    return list(categories_by_name())


def generate_ads(
    num_ads: int,
    *,
    seed: int,
    balanced: bool = False,
    duplicate_fraction: float = 0.15,
    batch_rows: int = 5000,
) -> Iterator[pa.RecordBatch]:
    """Stream ads in batches; the ads depend on every argument but `batch_rows`.

    balanced: the same number of ads of each category (one more in some when 50 does not divide
    `num_ads`), in random order; otherwise a natural, skewed mix. duplicate_fraction: share of
    re-posts, which differ from an earlier ad in phone number or city at most.
    """
    rows = _rows(num_ads, seed, balanced, duplicate_fraction)
    while batch := list(itertools.islice(rows, batch_rows)):
        yield _record_batch(batch)


def write_catalogue(
    uri: str,
    num_ads: int,
    *,
    seed: int,
    balanced: bool = False,
    rows_per_file: int = 100_000,
    row_group_rows: int = 10_000,
) -> list[str]:
    """Write the ads of `generate_ads` to Parquet files below a URI; return theirs, in order.

    One file at a time is built in memory, some 100 bytes a row, and put whole.
    """
    rows = _rows(num_ads, seed, balanced, duplicate_fraction=0.15)
    uris = []
    for part, start in enumerate(range(0, num_ads, rows_per_file)):
        file_uri = storage.join(uri, f"part-{part:05d}.parquet")
        file_rows = itertools.islice(rows, min(rows_per_file, num_ads - start))
        file = io.BytesIO()
        with pq.ParquetWriter(file, CATALOGUE_SCHEMA, compression="zstd") as writer:
            while group := list(itertools.islice(file_rows, row_group_rows)):
                writer.write_batch(_record_batch(group), row_group_size=row_group_rows)
        storage.put_bytes(file_uri, file.getvalue())
        uris.append(file_uri)
    return uris


def hard_cases() -> list[HardCase]:
    """Return the hand-written ads, each with the category that a person would choose."""
    return [
        HardCase(text, label)
        for label, texts in load_data("hard_cases.yaml").items()
        for text in texts
    ]


def _rows(
    num_ads: int, seed: int, balanced: bool, duplicate_fraction: float
) -> Iterator[Row]:
    rng = Random(f"catalogue {seed} {balanced}")
    writer = AdWriter(rng)
    recent: dict[str, deque[Draft]] = {
        name: deque(maxlen=REPOST_WINDOW) for name in categories_by_name()
    }
    places, place_weights = (
        cities(),
        list(itertools.accumulate(city.weight for city in cities())),
    )
    for number, category in enumerate(_category_order(num_ads, rng, balanced)):
        drafts = recent[category.name]
        if drafts and rng.random() < duplicate_fraction:
            draft = rng.choice(drafts)
        else:
            draft = writer.write(category)
            drafts.append(draft)
        city = rng.choices(places, cum_weights=place_weights)[0]
        title, body = draft.filled(city, rng)
        published_at = FIRST_DAY + timedelta(
            seconds=int(rng.random() * NUM_DAYS * 86_400)
        )
        ad_id = str(FIRST_AD_ID + 7 * number + int(rng.random() * 7))
        yield ad_id, title, body, category.name, city.name, draft.price_rub, published_at


def _category_order(num_ads: int, rng: Random, balanced: bool) -> Iterator[Category]:
    all_categories = list(categories_by_name().values())
    weights = [category.weight for category in all_categories]
    weights = list(itertools.accumulate(weights))
    for start in range(0, num_ads, BLOCK_ROWS):
        block_rows = min(BLOCK_ROWS, num_ads - start)
        if balanced:
            block = list(itertools.islice(itertools.cycle(all_categories), block_rows))
            rng.shuffle(block)
        else:
            block = rng.choices(all_categories, cum_weights=weights, k=block_rows)
        yield from block


def _record_batch(rows: list[Row]) -> pa.RecordBatch:
    columns: list[Any] = list(zip(*rows, strict=True))
    arrays = [
        pa.array(column, field.type)
        for column, field in zip(columns, CATALOGUE_SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=CATALOGUE_SCHEMA)

"""From rows of a labelled table to cleaned ads; ads without text are dropped.

Shapes: n rows of a table or a shard.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rubert_ood.ads.ad_block import COLUMNS, TRAITS, ad_block
from rubert_ood.ads.labelled_ads import LabelledAds
from rubert_ood.ads.labelled_table import LabelledShard
from rubert_ood.ads.labels import Rewriter, is_missing, label_index
from rubert_ood.ads.schema import decoded
from rubert_ood.ads.splits import SPLITS
from rubert_ood.ads.text import TextCleaner, ad_text
from rubert_ood.ads.traits import ad_traits
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog

log = StepLog("data")

ROLES = ("title", "description", "city")
TEST = SPLITS.index("test")


@dataclass(frozen=True)
class CleanTask:
    """A shard, and where its rows belong."""

    shard: LabelledShard
    splits_n: np.ndarray
    """Number of the split of each row."""
    rows_n: np.ndarray
    """Number of each row within the training."""
    labels_n: np.ndarray


def clean_shard(task: CleanTask, cleaner: TextCleaner) -> list[pa.Table]:
    """Return the block of each split (`ad_block.py`); test ads have traits."""
    is_test_n = task.splits_n == TEST
    kept, block = clean_table(task.shard.read(ROLES), cleaner, is_test_n)
    rows = pa.array(task.rows_n[kept].astype(np.int64))
    labels = pa.array(task.labels_n[kept].astype(np.int64))
    block = block.set_column(0, "row", rows).set_column(1, "label", labels)
    blocks = []
    for number in range(len(SPLITS)):
        names = [*COLUMNS, *TRAITS] if number == TEST else [*COLUMNS]
        blocks.append(block.select(names).filter(task.splits_n[kept] == number))
    return blocks


def clean_table(
    table: pa.Table, cleaner: TextCleaner, has_traits_n: np.ndarray
) -> tuple[np.ndarray, pa.Table]:
    """Clean title and description of each row; return the rows with text, and a block of them.

    The block has the number of the row in the table, label 0, and traits, which are null where they
    are not asked for.
    """
    rows, texts = list[int](), list[str]()
    traits: dict[str, list[str | None]] = {name: [] for name in TRAITS}
    columns = [decoded(table[role]) for role in ROLES]
    for row, (title, description, city) in enumerate(zip(*columns, strict=True)):
        if isinstance(title, bytes) or isinstance(description, bytes):
            continue
        text = cleaner.clean(ad_text(title, description))
        if not text:
            continue
        rows.append(row)
        texts.append(text)
        named: dict[str, str | None] = {}
        if has_traits_n[row]:
            named |= ad_traits(title, description, text)
            named["city"] = city if isinstance(city, str) else None
        for name, values in traits.items():
            values.append(named.get(name))
    kept = np.array(rows, dtype=np.int64)
    block = ad_block(kept, np.zeros_like(kept), texts)
    for name, values in traits.items():
        block = block.append_column(name, pa.array(values, pa.string()))
    return kept, block


def clean_labelled(
    table: pa.Table, cleaner: TextCleaner, labels: list[str], *, traits: bool = False
) -> LabelledAds:
    """Clean and number the ads; ads without text are dropped, and counted in the log.

    Every category is one of the labels: `read_labelled` with `known` has seen to that.
    """
    kept, block = clean_table(table, cleaner, np.full(table.num_rows, traits))
    warn_of_empty(table.num_rows - len(kept))
    index = label_index(labels)
    numbers = [index[name] for name in table["category"].take(pa.array(kept)).to_pylist()]
    block = block.set_column(1, "label", pa.array(numbers, pa.int64()))
    return LabelledAds.of([block if traits else block.select([*COLUMNS])])


def warn_of_empty(number: int) -> None:
    """Say how many ads are left out since they have no text; nothing where none is."""
    if number:
        log.warning(
            "leaves out %s: no readable text is left after cleaning",
            count_of(number, "labelled ad"),
        )


def clean_subcategories(
    table: pa.Table, cleaner: TextCleaner, labels: list[str]
) -> tuple[LabelledAds, list[tuple[str, str]]]:
    """Clean the ads with text and sub-category; number the (category, sub-category) pairs.

    Ads without a sub-category (null, blank, `nan`, not UTF-8) are dropped. Every category is one of
    the labels, as for `clean_labelled`.
    """
    index = label_index(labels)
    rewriter = Rewriter()
    categories = table["category"].to_pylist()
    values = zip(categories, decoded(table["subcategory"]), strict=True)
    numbers: dict[tuple[str, str], int] = {}
    kept, pairs = [], []
    for row, (category, subcategory) in enumerate(values):
        name = rewriter.normal(subcategory) if isinstance(subcategory, str) else ""
        if is_missing(name):
            continue
        kept.append(row)
        pair = (labels[index[category]], name)
        pairs.append(str(numbers.setdefault(pair, len(numbers))))
    rewriter.report()
    chosen = table.take(pa.array(kept, pa.int64()))
    chosen = chosen.set_column(
        chosen.schema.names.index("category"), "category", pa.array(pairs, pa.string())
    )
    return clean_labelled(
        chosen, cleaner, [str(number) for number in range(len(numbers))]
    ), list(numbers)

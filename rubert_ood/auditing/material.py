"""Labelled ads for an audit: where each stands, what it says, and its label."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubert_ood.ads.absent import warn_of_absent
from rubert_ood.ads.dataset import build_cleaner
from rubert_ood.ads.labelled_table import ROLES, whole_file
from rubert_ood.ads.labels import Rewriter
from rubert_ood.ads.schema import decoded
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.text import TextCleaner, ad_text, text_key
from rubert_ood.errors import InputError
from rubert_ood.settings import CleanerSettings, ColumnSettings


@dataclass(frozen=True, eq=False)
class AuditAds:
    """Ads with text, in the order of their files."""

    files: list[str]
    rows: list[int]
    """Rows of the file, from 1, without the header."""
    ad_ids: list[str]
    texts: list[str]
    """Cleaned: without phone numbers."""
    keys_N: NDArray[np.object_]
    """Keys of the texts."""
    labels_N: NDArray[np.int64]
    labels: list[str]
    num_unreadable: int
    """Ads without text after cleaning, or not in UTF-8."""

    def __len__(self) -> int:
        return len(self.rows)


def read_ads(
    uri: str, columns: ColumnSettings, cleaner: TextCleaner | None = None
) -> AuditAds:
    """Read labelled ads, cleaned as a bundle does, or as a training of these ads would.

    Raises SchemaError and InputError as `read_labelled`. A table may lack ids, unless their column
    is named.
    """
    tables, found, rewriter = [], [], Rewriter()
    roles = (*ROLES, "ad_id")
    wanted = roles if "ad_id" in columns.model_fields_set else ROLES
    for file in list_tables(uri):
        whole = whole_file(file, columns, wanted)
        found.append(whole.columns)
        table = whole.read(roles)
        labels = whole.normal_labels(table["category"], rewriter, ())
        place = table.schema.names.index("category")
        table = table.set_column(place, "category", labels)
        table = table.append_column("row", pa.array(range(1, len(whole) + 1), pa.int64()))
        name = pa.array([file.uri] * len(whole), pa.string())
        tables.append(table.append_column("file", name))
    rewriter.report()
    absent = ("title",) if cleaner else ("title", "city")
    warn_of_absent(found, columns, roles=absent)
    joined = pa.concat_tables(tables)
    if not joined.num_rows:
        raise InputError(f"{uri}: the table has no rows. Use a table with labelled ads")
    made = cleaner or build_cleaner(joined, CleanerSettings())
    return cleaned_ads(joined, made.clean)


def cleaned_ads(table: pa.Table, clean: Callable[[str], str]) -> AuditAds:
    """Clean the ads of a table, which has the columns file and row beside those of ads; ads
    without text are left out."""
    kept, texts = list[int](), list[str]()
    pairs = zip(decoded(table["title"]), decoded(table["description"]), strict=True)
    for row, (title, description) in enumerate(pairs):
        if isinstance(title, bytes) or isinstance(description, bytes):
            continue
        text = clean(ad_text(title, description))
        if text:
            kept.append(row)
            texts.append(text)
    found = table.take(pa.array(kept, pa.int64()))
    names = found["category"].to_pylist()
    labels = sorted(set(names))
    numbers = {name: number for number, name in enumerate(labels)}
    ids = [value if isinstance(value, str) else "" for value in decoded(found["ad_id"])]
    return AuditAds(
        files=found["file"].to_pylist(),
        rows=found["row"].to_pylist(),
        ad_ids=ids,
        texts=texts,
        keys_N=np.array([text_key(text) for text in texts], object),
        labels_N=np.array([numbers[name] for name in names], np.int64),
        labels=labels,
        num_unreadable=table.num_rows - len(kept),
    )

"""The texts that two bundles are compared on: labelled ads, OOD texts, a sample of a catalogue."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from rubert_ood.ads.absent import warn_of_absent
from rubert_ood.ads.dataset import read_labelled
from rubert_ood.ads.extra_texts import read_texts
from rubert_ood.ads.schema import as_text, decoded, resolve_columns
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.tables import TableInfo, inspect, read_rows
from rubert_ood.ads.text import TextCleaner, ad_text
from rubert_ood.errors import InputError
from rubert_ood.settings import ColumnSettings, PromoteSettings
from rubert_ood.storage.listing import FileInfo

INSPECT_THREADS = 32
NUM_PIECES = 50
"""Places of the catalogue that a sample is taken from."""
SEED = 0


@dataclass(frozen=True)
class Material:
    """Texts as they are written, title and description together."""

    texts: list[str]
    labels: list[str]
    """In normal form."""
    ood: dict[str, list[str]] = field(default_factory=dict)
    """By kind."""
    sample: list[str] = field(default_factory=list)
    num_not_utf8: int = 0
    """Labelled ads that are not here."""


def read_material(
    settings: PromoteSettings, known: Sequence[str], cleaner: TextCleaner
) -> Material:
    """Read what the settings name; `known` labels are those of either bundle.

    Ads that are not UTF-8 are left out and counted. `cleaner` says which OOD texts hold something
    to read.
    """
    table = read_labelled(
        settings.test_uri,
        settings.columns,
        known=known,
    )
    texts, labels = list[str](), list[str]()
    rows = zip(_texts(table), table["category"].to_pylist(), strict=True)
    for text, label in rows:
        if text is not None:
            texts.append(text)
            labels.append(label)
    ood: dict[str, list[str]] = {}
    ood_uri = settings.evaluation.ood_uri
    if ood_uri:
        for text, _, kind in read_texts(ood_uri, "kind", cleaner):
            ood.setdefault(kind, []).append(text)
    sample = []
    if settings.sample_uri:
        sample = read_sample(
            settings.sample_uri,
            settings.columns,
            settings.sample_ads,
        )
    return Material(texts, labels, ood, sample, table.num_rows - len(texts))


def _texts(table: pa.Table) -> list[str | None]:
    """Return the text of each ad; None where it is not UTF-8."""
    texts = list[str | None]()
    columns = [decoded(table[name]) for name in ("title", "description")]
    for title, description in zip(*columns, strict=True):
        if isinstance(title, bytes) or isinstance(description, bytes):
            texts.append(None)
        else:
            texts.append(ad_text(title, description))
    return texts


def read_sample(uri: str, columns: ColumnSettings, num_ads: int) -> list[str]:
    """Read about so many ads from all over a catalogue, the same ones of the same files.

    Raises InputError where it holds none.
    """
    files = list_tables(uri)
    look = partial(_inspect, columns=columns)
    with ThreadPoolExecutor(INSPECT_THREADS) as pool:
        tables = list(pool.map(look, files))
    rows = [sum(table.row_groups) for table in tables]
    if not sum(rows):
        raise InputError(
            f"{uri}: the catalogue has no rows. Use one with ads in sample_uri"
        )
    warn_of_absent([_titled(table, columns) for table in tables], columns)
    ends = np.cumsum(rows)
    texts = list[str]()
    for start, stop in _pieces(int(ends[-1]), num_ads):
        for number, size in enumerate(rows):
            begin = int(ends[number]) - size
            first = max(start - begin, 0)
            last = min(stop - begin, size)
            if first >= last:
                continue
            table = _read(
                files[number],
                tables[number],
                columns,
                first,
                last,
            )
            found = _texts(table)
            texts += [text for text in found if text is not None]
    return texts


def _pieces(num_rows: int, num_ads: int) -> list[tuple[int, int]]:
    """Choose ranges of rows, in order, that hold about so many ads."""
    size = max(1, min(num_ads, num_rows) // NUM_PIECES)
    starts = np.arange(0, num_rows, size)
    wanted = min(len(starts), -(-num_ads // size))
    rng = np.random.default_rng(SEED)
    chosen = np.sort(rng.choice(starts, wanted, replace=False)).tolist()
    return [(start, min(start + size, num_rows)) for start in chosen]


def _inspect(file: FileInfo, columns: ColumnSettings) -> TableInfo:
    return inspect(file.uri, version=file.version, delimiter=columns.delimiter or "")


def _titled(table: TableInfo, columns: ColumnSettings) -> dict[str, str]:
    """Return {"title": its column} if the table has one."""
    name = columns.title
    return {"title": name} if name in table.schema.names and name else {}


def _read(
    file: FileInfo, table: TableInfo, columns: ColumnSettings, start: int, stop: int
) -> pa.Table:
    """Read title and description of some rows as text; a title that is absent is null."""
    roles = ("title", "description")
    found = resolve_columns(file.uri, table.schema, columns, roles)
    rows = read_rows(
        file.uri,
        list(dict.fromkeys(found.values())),
        start=start,
        stop=stop,
        version=file.version,
        delimiter=table.delimiter,
    )
    absent = pa.nulls(rows.num_rows, pa.string())
    texts = {}
    for role in roles:
        texts[role] = absent
        if role in found:
            texts[role] = as_text(rows[found[role]])
    return pa.table(texts)

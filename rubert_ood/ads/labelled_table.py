"""Labelled ads as they are written: files, ranges of their rows, the columns that are read.

Shapes: N rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa

from rubert_ood.ads.absent import warn_of_absent
from rubert_ood.ads.csv_table import is_csv
from rubert_ood.ads.labels import Rewriter, check_known, read_labels
from rubert_ood.ads.schema import as_text, resolve_columns
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.tables import inspect, read_rows
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.settings import ColumnSettings
from rubert_ood.storage.listing import FileInfo

ROLES = ("title", "description", "category", "city")
SHARDS = 64
"""Of a table of labelled ads, where they do not get too small or too large for it."""
SHARD_ROWS = (1_000, 50_000)
"""Rows of a shard, at least and at most; a CSV file is one shard, since it is read through."""


@dataclass(frozen=True)
class LabelledShard:
    """A range of rows of one file."""

    uri: str
    version: str
    delimiter: str
    columns: dict[str, str]
    """By role."""
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, roles: Sequence[str]) -> pa.Table:
        """Read the columns of these roles as text; a role without a column is null."""
        wanted = [self.columns[role] for role in roles if role in self.columns]
        table = read_rows(
            self.uri,
            list(dict.fromkeys(wanted)),
            start=self.start,
            stop=self.stop,
            version=self.version,
            delimiter=self.delimiter,
        )
        absent = pa.nulls(len(self), pa.string())
        texts = {}
        for role in roles:
            is_there = role in self.columns
            texts[role] = as_text(table[self.columns[role]]) if is_there else absent
        return pa.table(texts)

    def normal_labels(
        self, column: pa.ChunkedArray, rewriter: Rewriter, known: Sequence[str]
    ) -> pa.Array:
        """Return the labels of the shard in normal form.

        Raises SchemaError that names file, row and column of the first label that is missing or
        unknown.
        """
        name, start = self.columns["category"], self.start
        labels = read_labels(self.uri, name, column, rewriter, start=start)
        if known:
            check_known(self.uri, name, labels, known, start=start)
        return labels


def whole_file(
    file: FileInfo, columns: ColumnSettings, roles: Sequence[str] = ROLES
) -> LabelledShard:
    """Look into a file and resolve its columns; SchemaError names what is missing.

    The id of an ad is found where the file has one.
    """
    info = inspect(file.uri, version=file.version, delimiter=columns.delimiter or "")
    found = resolve_columns(file.uri, info.schema, columns, roles)
    with suppress(SchemaError):
        found |= resolve_columns(file.uri, info.schema, columns, ["ad_id"])
    num_rows = sum(info.row_groups)
    return LabelledShard(file.uri, file.version, info.delimiter, found, 0, num_rows)


def cut(files: Sequence[LabelledShard]) -> Iterator[LabelledShard]:
    """Cut files into shards, by the number of their rows alone."""
    total = sum(map(len, files))
    at_least, at_most = SHARD_ROWS
    size = min(at_most, max(at_least, -(-total // SHARDS)))
    for file in files:
        if is_csv(file.uri):
            yield file
            continue
        for start in range(0, len(file), size):
            yield replace(file, start=start, stop=min(start + size, len(file)))


def read_labelled(
    uri: str,
    columns: ColumnSettings,
    *,
    extra: tuple[str, ...] = (),
    known: Sequence[str] = (),
) -> pa.Table:
    """Read labelled ads: text columns title, description, category, city (absent: null), extra.

    Categories come in their normal form (labels.py). With `known` labels, one that is not among
    them is a SchemaError that names file, row and column.
    """
    roles = (*ROLES, *extra)
    tables, found = [], []
    rewriter = Rewriter()
    for file in list_tables(uri):
        whole = whole_file(file, columns, roles)
        found.append(whole.columns)
        table = whole.read(roles)
        labels = whole.normal_labels(table["category"], rewriter, known)
        place = table.schema.names.index("category")
        tables.append(table.set_column(place, "category", labels))
    rewriter.report()
    warn_of_absent(found, columns)
    joined = pa.concat_tables(tables)
    if joined.num_rows == 0:
        raise InputError(f"{uri}: the table has no rows. Use a table with labelled ads")
    return joined

"""Ads as they are given in a notebook: a DataFrame, an Arrow table or plain texts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeGuard

import pandas as pd
import pyarrow as pa

from rubert_ood.ads.absent import warn_of_other_case
from rubert_ood.ads.schema import as_text, decoded, resolve_columns
from rubert_ood.ads.text import ad_text
from rubert_ood.errors import SchemaError
from rubert_ood.settings import ColumnSettings


class ArrowStream(Protocol):
    """A table that gives its columns as Arrow: of pyarrow, polars, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return them (the Arrow PyCapsule interface)."""


Ads: TypeAlias = pd.DataFrame | ArrowStream | pd.Series | Iterable[str | None] | str
PLACE = "ads"
"""What error messages call the table."""
TEXT = "text"
"""And the column of ads that are given as plain texts."""


@dataclass(frozen=True)
class GivenAds:
    """What the model reads of them, and what goes back beside its answers."""

    texts: list[str]
    """Title and description of each ad, as they are written; " " where there is neither."""
    ad_id: pd.Series | pa.ChunkedArray | None
    """The ids as they are given; None without such a column."""
    index: pd.Index | None
    """Of a DataFrame or Series."""
    is_arrow: bool = False
    """Whether they were given as a table of Arrow."""


def given_ads(ads: Ads, columns: ColumnSettings) -> GivenAds:
    """Take the texts out of what a caller has: a table with title and description, or texts.

    Null, None and NaN are no text. Raises SchemaError that names the column which is missing,
    stands twice or holds something else than text.
    """
    if isinstance(ads, pd.DataFrame):
        table = _table_of(ads, columns)
        texts = _texts(table, columns)
        has_ids = columns.ad_id in table.schema.names
        return GivenAds(texts, ads[columns.ad_id] if has_ids else None, ads.index)
    if isinstance(ads, pd.Series):
        return GivenAds(_plain_texts(ads), None, ads.index)
    arrow = _arrow_table(ads)
    if arrow is not None:
        texts = _texts(arrow, columns)
        has_ids = columns.ad_id in arrow.schema.names
        ids = arrow[columns.ad_id] if has_ids else None
        return GivenAds(texts, ids, None, is_arrow=True)
    if isinstance(ads, str):
        ads = [ads]
    if isinstance(ads, bytes | dict) or not _is_list(ads):
        raise SchemaError(
            f"{PLACE}: {type(ads).__name__} is not supported. Use a"
            " DataFrame, an Arrow table or a list of texts"
        )
    return GivenAds(_plain_texts(pd.Series(list(ads), dtype=object)), None, None)


def _arrow_table(ads: Ads) -> pa.Table | None:
    """Return a table that gives its columns as Arrow; None of anything else."""
    if not hasattr(ads, "__arrow_c_stream__"):
        return None
    try:
        reader = pa.RecordBatchReader.from_stream(ads)
    except pa.ArrowInvalid:  # one column: a list of texts
        return None
    # pyarrow 26 cannot join an empty batch that came so
    batches = [batch for batch in reader if batch.num_rows]
    return pa.Table.from_batches(batches, reader.schema)


def _is_list(ads: object) -> TypeGuard[Iterable[str | None]]:
    """Say whether it can be gone through: an array without dimensions only looks so."""
    try:
        iter(ads)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True


def _texts(table: pa.Table, columns: ColumnSettings) -> list[str]:
    roles = ["title", "description"]
    if columns.ad_id in table.schema.names or "ad_id" in columns.model_fields_set:
        roles.append("ad_id")
    names = resolve_columns(PLACE, table.schema, columns, roles)
    warn_of_other_case(table.schema.names, columns)
    titles = _column(table, names.get("title"))
    descriptions = _column(table, names["description"])
    _column(table, names.get("ad_id"))  # refused here: they go back as they are given
    return [ad_text(*pair) for pair in zip(titles, descriptions, strict=True)]


def _column(table: pa.Table, name: str | None) -> list[str | None]:
    """Return a column of text as Python sees it; SchemaError where a value is not UTF-8."""
    if name is None:
        return [None] * table.num_rows
    values = list[str | None]()
    for row, value in enumerate(decoded(as_text(table[name]))):
        if isinstance(value, bytes):
            raise SchemaError(
                f"{PLACE}: column {name!r}, row {row}: the text is not UTF-8."
                " Decode it first"
            )
        values.append(value)
    return values


def _plain_texts(texts: pd.Series) -> list[str]:
    table = pa.table([_array(texts, TEXT)], [TEXT])
    return _texts(table, ColumnSettings(title=None, description=TEXT))


def _table_of(frame: pd.DataFrame, columns: ColumnSettings) -> pa.Table:
    """Bring the columns that are read to Arrow; the others are there by name only."""
    read = {columns.ad_id, columns.title, columns.description}
    arrays, names = [], []
    for position, name in enumerate(frame.columns):
        is_read = name in read
        arrays.append(
            _array(frame.iloc[:, position], name) if is_read else pa.nulls(len(frame))
        )
        names.append(str(name))
    return pa.table(arrays, names) if names else pa.table({})


def _array(column: pd.Series, name: object) -> pa.Array | pa.ChunkedArray:
    if column.isna().all():  # of floats, if pandas made NaN of every missing text
        return pa.nulls(len(column))
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, UnicodeError, TypeError, OverflowError):
        # their words quote a value
        raise SchemaError(
            f"{PLACE}: column {name!r} holds values that are not text."
            " Convert them to text, or to None"
        ) from None

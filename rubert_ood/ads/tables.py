"""Parquet and CSV tables, whole or by a range of rows, local or s3://, each as it was planned."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import storage
from rubert_ood.ads.csv_table import is_csv, read_csv
from rubert_ood.errors import InputChangedError, InputError
from rubert_ood.storage.listing import local_version
from rubert_ood.storage.retry import explained, retried

READ_BATCH_ROWS = 16_384
BUFFER_BYTES = 2**23
"""Of a column that is read page by page, not at once."""
READ_BATCH_BYTES = 2**26
MAX_ROWS = 2**31
MAX_ROWS_PER_BYTE = 1_000
"""A footer that claims more rows is refused: nothing packs ids and texts so tightly."""


_KEPT: dict[tuple[str, ...], pa.Table] = {}
"""The CSV file of which this process has read rows, and not the last ones: any row takes all of
it, and to read it for each shard would take the square of its rows."""


class _File(Protocol):
    """What fsspec opens: an object on S3 has `details`, a local file `fileno`."""

    details: Mapping[str, object]

    def fileno(self) -> int: ...


@dataclass(frozen=True)
class TableInfo:
    """What a table says of itself."""

    schema: pa.Schema
    row_groups: list[int]
    """Rows of each row group; a CSV file is one group."""
    delimiter: str = ""
    """Of a CSV file."""


@retried
def inspect(uri: str, *, version: str = "", delimiter: str = "") -> TableInfo:
    """Read what can be known without the rows: schema and row groups (CSV is read through).

    version: as `FileInfo` has it; InputChangedError when the file is of another by now. "" takes
    any.
    """
    with _opened(uri, version) as file:
        if is_csv(uri):
            table, found = read_csv(uri, file, delimiter)
            return TableInfo(
                table.schema, [table.num_rows] if table.num_rows else [], found
            )
        footer = pq.ParquetFile(file)
        groups = footer.metadata
        rows = [
            groups.row_group(index).num_rows for index in range(groups.num_row_groups)
        ]
        _check_claim(uri, groups.num_rows, rows, file)
        return TableInfo(footer.schema_arrow, rows)


def _check_claim(
    uri: str,
    num_rows: int,
    row_groups: list[int],
    file: BinaryIO,
) -> None:
    """Refuse a footer whose numbers cannot be true, before anything of that size is made."""
    size = file.seek(0, os.SEEK_END)
    if num_rows != sum(row_groups) or min(row_groups, default=0) < 0:
        raise InputError(
            f"{uri}: the file cannot be read as Parquet: its footer contradicts"
            " itself. Write the file again"
        )
    if num_rows > min(MAX_ROWS, size * MAX_ROWS_PER_BYTE):
        raise InputError(
            f"{uri}: the file cannot be read as Parquet: its footer claims"
            f" {num_rows:,} rows in {size:,} bytes. Write the file again"
        )


@retried
def read_rows(
    uri: str,
    columns: Sequence[str],
    *,
    start: int = 0,
    stop: int | None = None,
    version: str = "",
    delimiter: str = "",
) -> pa.Table:
    """Read the columns of rows [start, stop); of Parquet only the row groups that hold them.

    Raises InputChangedError when the file is not of this version before and after; "" takes any.
    """
    batches = iter_rows(
        uri, columns, start=start, stop=stop, version=version, delimiter=delimiter
    )
    first = next(batches)  # there is always one
    return pa.Table.from_batches([first, *batches], first.schema)


def iter_rows(
    uri: str,
    columns: Sequence[str],
    *,
    start: int = 0,
    stop: int | None = None,
    version: str = "",
    delimiter: str = "",
    batch_rows: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the columns of rows [start, stop), of Parquet few at a time.

    batch_rows: by default so many that a batch of average rows stays below READ_BATCH_BYTES. The
    first batch has no row and tells the schema. Whoever iterates repeats a failure that passes.
    Raises as `read_rows`.
    """
    with _opened(uri, version) as file:
        if is_csv(uri):
            table = _csv_rows(uri, file, columns, (start, stop), version, delimiter)
            yield _no_rows(table.schema)
            yield from table.to_batches(batch_rows)
            return
        parquet = pq.ParquetFile(file, buffer_size=BUFFER_BYTES)
        yield _no_rows(pa.schema([parquet.schema_arrow.field(name) for name in columns]))
        yield from _batches(parquet, columns, start, stop, batch_rows)


def _csv_rows(
    uri: str,
    file: BinaryIO,
    columns: Sequence[str],
    rows: tuple[int, int | None],
    version: str,
    delimiter: str,
) -> pa.Table:
    """Read a range of rows; the file is kept until its last rows are read."""
    start, stop = rows
    key = (uri, version, delimiter, *columns)
    table = _KEPT.get(key)
    if table is None:
        table, _ = read_csv(uri, file, delimiter, columns)
    _KEPT.clear()
    if version and stop is not None and stop < table.num_rows:
        _KEPT[key] = table
    return table.slice(start, None if stop is None else stop - start)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.nulls(0, field.type) for field in schema], schema=schema
    )


def _batches(
    parquet: pq.ParquetFile,
    columns: Sequence[str],
    start: int,
    stop: int | None,
    batch_rows: int | None,
) -> Iterator[pa.RecordBatch]:
    stop = parquet.metadata.num_rows if stop is None else stop
    groups, position = _row_groups(parquet.metadata, start, stop)
    num_rows = batch_rows or _batch_rows(parquet.metadata, groups)
    for batch in parquet.iter_batches(num_rows, row_groups=groups, columns=list(columns)):
        low, high = max(start - position, 0), min(stop - position, batch.num_rows)
        if low < high:
            yield batch.slice(low, high - low).select(columns)
        position += batch.num_rows
        if position >= stop:
            break


def _batch_rows(metadata: pq.FileMetaData, groups: list[int]) -> int:
    """Choose so many rows that a batch of average ones stays below READ_BATCH_BYTES."""
    rows = size = 0
    for index in groups:
        rows += metadata.row_group(index).num_rows
        size += metadata.row_group(index).total_byte_size
    return max(1, min(READ_BATCH_ROWS, READ_BATCH_BYTES * rows // max(size, 1)))


def _row_groups(
    metadata: pq.FileMetaData, start: int, stop: int
) -> tuple[list[int], int]:
    """Find the row groups that overlap [start, stop), and the first row of the first of them."""
    groups: list[int] = []
    first_row = position = 0
    for index in range(metadata.num_row_groups):
        end = position + metadata.row_group(index).num_rows
        if position < stop and end > start:
            if not groups:
                first_row = position
            groups.append(index)
        position = end
    return groups, first_row


@contextmanager
def _opened(uri: str, version: str) -> Iterator[Any]:
    """Open a file for reading; a failure while it is read becomes one line that names it."""
    fs, path = storage.filesystem(uri)
    with explained(uri), _planned(uri, version), fs.open(path, "rb") as file:
        _check_version(uri, path, file, version)
        try:
            yield file
        except (pa.ArrowException, OSError) as error:
            _check_version(uri, path, file, version)  # what was read may be a mixture
            if _is_storage_failure(error):
                raise
            kind = "CSV" if is_csv(uri) else "Parquet"
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{uri}: the file cannot be read as {kind}: {reason}"
            ) from error
        _check_version(uri, path, file, version)


@contextmanager
def _planned(uri: str, version: str) -> Iterator[None]:
    """A file of a known version that is not there, or not the same at a later read, has changed."""
    try:
        yield
    except OSError as error:
        gone = (
            isinstance(error, FileNotFoundError) or type(error).__name__ == "FileExpired"
        )
        if version and gone:
            raise _changed(uri) from error
        raise


def _changed(uri: str) -> InputChangedError:
    return InputChangedError(
        f"{uri}: this file changed after the job planned its work. Start the"
        " job again, so that it plans anew"
    )


def _is_storage_failure(error: Exception) -> bool:
    """Tell a failure of storage from Arrow's own, which are OSErrors without a number."""
    return isinstance(error, OSError) and (
        type(error) is not OSError or error.errno is not None
    )


def _check_version(uri: str, path: str, file: _File, version: str) -> None:
    """Raise InputChangedError when a file, open or by its name, is of another version.

    On S3 it is the ETag at opening; every read that follows is conditional on it (If-Match).
    """
    if not version:
        return
    if storage.is_s3(uri):
        found = {str(file.details.get("ETag")).strip('"')}
    else:
        found = {local_version(os.fstat(file.fileno()))}
        found.add(local_version(os.stat(path)) if os.path.exists(path) else "gone")
    if found != {version}:
        raise _changed(uri)

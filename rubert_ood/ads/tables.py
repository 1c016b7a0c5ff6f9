"""Read Parquet and CSV tables, whole or by a range of rows, local or s3://."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from rubert_ood import storage
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.retry import explained, retried

SUFFIXES = (".parquet", ".csv")
READ_BATCH_ROWS = 16_384
BUFFER_BYTES = 8 * 2**20
"""Of a column that are fetched at a time, so that a row group of gigabytes is never in memory."""
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class TableInfo:
    schema: pa.Schema
    row_groups: list[int]
    """Rows of each row group; a CSV file is one group."""


def list_tables(uri: str) -> list[storage.FileInfo]:
    """List the Parquet and CSV files under a URI; InputError when there are none."""
    files = storage.list_files(uri, SUFFIXES)
    if not files:
        raise InputError(f"{uri}: no .parquet or .csv file here")
    return files


@retried
def inspect(uri: str) -> TableInfo:
    """Read what can be known without the rows: the schema, and the rows of each row group (CSV is read through)."""
    with _opened(uri) as file:
        if _is_csv(uri):
            table = _read_csv(uri, file, None)
            return TableInfo(table.schema, [table.num_rows] if table.num_rows else [])
        footer = pq.ParquetFile(file)
        groups = footer.metadata
        return TableInfo(footer.schema_arrow, [groups.row_group(i).num_rows for i in range(groups.num_row_groups)])


@retried
def read_rows(uri: str, columns: Sequence[str], *, start: int = 0, stop: int | None = None) -> pa.Table:
    """Read the columns of rows [start, stop); of Parquet only the row groups that hold them."""
    batches = iter_rows(uri, columns, start=start, stop=stop, batch_rows=READ_BATCH_ROWS)
    first = next(batches)  # there is always one
    return pa.Table.from_batches([first, *batches], first.schema)


def iter_rows(
    uri: str,
    columns: Sequence[str],
    *,
    start: int = 0,
    stop: int | None = None,
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    """Yield the columns of rows [start, stop), few at a time: of Parquet no more than these and a page are in memory.

    The first batch has no row and tells the schema. Whoever iterates repeats a failure that passes.
    """
    with _opened(uri) as file:
        if _is_csv(uri):
            table = _read_csv(uri, file, columns).slice(start, None if stop is None else stop - start)
            yield _no_rows(table.schema)
            yield from table.to_batches(batch_rows)
            return
        parquet = pq.ParquetFile(file, buffer_size=BUFFER_BYTES)
        schema = pa.schema([parquet.schema_arrow.field(name) for name in columns])
        yield _no_rows(schema)
        stop = parquet.metadata.num_rows if stop is None else stop
        groups, position = _row_groups(parquet.metadata, start, stop)
        for batch in parquet.iter_batches(batch_rows, row_groups=groups, columns=list(columns)):
            low, high = max(start - position, 0), min(stop - position, batch.num_rows)
            if low < high:
                yield batch.slice(low, high - low).select(columns)
            position += batch.num_rows
            if position >= stop:
                break


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _row_groups(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """Find the row groups that overlap [start, stop), and the row at which the first of them begins."""
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


def _is_csv(uri: str) -> bool:
    return uri.lower().endswith(".csv")


@contextmanager
def _opened(uri: str) -> Iterator[Any]:
    """Open a file for reading; a failure while it is read becomes one line that names it."""
    fs, path = storage.filesystem(uri)
    with explained(uri), fs.open(path, "rb") as file:
        try:
            yield file
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
                raise  # storage failed; Arrow's own errors are plain and have no number
            kind = "CSV" if _is_csv(uri) else "Parquet"
            fix = "; save it as UTF-8" if "invalid UTF8" in str(error) else ""
            raise InputError(f"{uri}: not readable as {kind}: {' '.join(str(error).split())}{fix}") from error


def _read_csv(uri: str, file: Any, columns: Sequence[str] | None) -> pa.Table:
    """Read a CSV file, every column as text, so that `007` stays `007`."""
    names = _header(uri, file)
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise SchemaError(f"{uri}: the column name {sorted(repeated)[0]!r} stands in the header twice")
    content = file.read()
    _check_quotes(uri, content)
    return pyarrow.csv.read_csv(
        pa.BufferReader(content),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in names}, include_columns=list(columns) if columns else None
        ),
    )


def _check_quotes(uri: str, content: bytes) -> None:
    """Refuse a quote that is never closed, or closed in the middle of a value: pyarrow would swallow rows silently."""
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", errors="replace", newline="")
    rows = csv.reader(text, strict=True)
    line = 1
    try:
        for _ in rows:
            line = rows.line_num + 1
    except csv.Error as error:
        raise InputError(f"{uri}: not readable as CSV: the row that begins in line {line}: {error}") from error


def _header(uri: str, file: Any) -> list[str]:
    """Read the column names and go back to the start."""
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        return next((row for row in csv.reader(text) if row), [])
    except UnicodeDecodeError as error:
        raise InputError(f"{uri}: not readable as CSV: the text is not UTF-8; save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{uri}: not readable as CSV: {error}") from error
    finally:
        text.detach()
        file.seek(0)

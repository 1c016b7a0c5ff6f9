"""A file of ads that somebody sends: CSV, Parquet, or one text a line.

A row that cannot be read becomes a line of its own with its problem; the others are classified. No
message quotes a value.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood.ads.absent import nearly_the_title
from rubert_ood.ads.csv_table import DELIMITERS
from rubert_ood.ads.schema import as_text, decoded, resolve_columns
from rubert_ood.ads.text import ad_text
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.plain import count_of
from rubert_ood.settings import ColumnSettings

MAX_ADS = 500
MAX_BYTES = 5_000_000
ROLES = ("ad_id", "title", "description")
PARQUET_MAGIC = b"PAR1"
BINARY = b"\0"
"""No text has it; workbooks, archives and UTF-16 do."""
ARCHIVES = (b"PK\3\4", b"\x1f\x8b")
"""How workbooks of Excel and files of gzip begin."""
LINES, CSV, PARQUET = "lines", "csv", "parquet"


@dataclass(frozen=True)
class GivenRow:
    """One ad of a file, or why it is none."""

    number: int
    """Counted from 1, without the header."""
    ad_id: str = ""
    text: str = ""
    """Title and description as `predict` joins them."""
    problem: str = ""


def read_upload(data: bytes, name: str, *, each_line: bool = False) -> list[GivenRow]:
    """Read the ads of a file.

    Raises InputError for a file that is not readable at all, is empty or too long, SchemaError
    where a column is missing.
    """
    readers = {PARQUET: _parquet, CSV: _csv, LINES: _lines}
    rows = list[GivenRow]()
    for row in readers[_kind(data, name, each_line)](data):
        if len(rows) == MAX_ADS:
            raise InputError(
                f"the file has more than {MAX_ADS} ads. Send fewer, or score it with"
                " `rubert-ood score`"
            )
        rows.append(row)
    if not rows:
        raise InputError("the file has no ad")
    return rows


def _kind(data: bytes, name: str, each_line: bool) -> str:
    if each_line:
        return LINES
    if data[:4] == PARQUET_MAGIC:
        return PARQUET
    lower = name.lower()
    if lower.endswith((".parquet", ".pq")):
        raise InputError("the file is not Parquet, though its name says so")
    if BINARY in data or data.startswith(ARCHIVES):
        raise InputError("the file is not text. Save it as CSV in UTF-8, or as Parquet")
    return CSV if lower.endswith((".csv", ".tsv")) else LINES


def _lines(data: bytes) -> Iterator[GivenRow]:
    number = 0
    for line in data.removeprefix(b"\xef\xbb\xbf").splitlines():
        if not line.strip():
            continue
        number += 1
        yield _row(number, None, None, _text(line))


def _csv(data: bytes) -> Iterator[GivenRow]:
    content = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    delimiter = _delimiter(content)
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    try:
        header = next((row for row in rows if row), [])
        if not header:
            return
        places = _places(header)
        for number, row in enumerate((row for row in rows if row), start=1):
            yield _csv_row(number, row, len(header), places)
    except csv.Error as error:
        raise InputError(f"line {rows.line_num}: {error}. Save it as CSV again") from None


def _csv_row(
    number: int, row: list[str], num_columns: int, places: dict[str, int]
) -> GivenRow:
    if len(row) != num_columns:
        problem = f"{count_of(len(row), 'column')}, the header has {num_columns}"
        return GivenRow(number, problem=problem)
    cells = {}
    for role, place in places.items():
        cells[role] = _text(row[place].encode("utf-8", "surrogateescape"))
    return _row(number, cells.get("ad_id"), cells.get("title"), cells["description"])


def _places(header: list[str]) -> dict[str, int]:
    """Return where each role stands in a header."""
    if any(name != _text(name.encode("utf-8", "surrogateescape")) for name in header):
        raise SchemaError("the header is not UTF-8. Save the file as UTF-8")
    schema = pa.schema([pa.field(name, pa.string()) for name in header])
    found = _columns(schema)
    return {role: header.index(name) for role, name in found.items()}


def _delimiter(content: str) -> str:
    """Return the delimiter that makes most columns of the first line."""
    line = next((line for line in content.splitlines() if line.strip()), "")
    return max(DELIMITERS, key=line.count)


def _parquet(data: bytes) -> Iterator[GivenRow]:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        names = _columns(file.schema_arrow)
        batches = file.iter_batches(MAX_ADS + 1, columns=list(names.values()))
        first = next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise InputError("the file is not readable as Parquet") from error
    if first is None:
        return
    table = pa.Table.from_batches([first])
    columns = {role: decoded(as_text(table[name])) for role, name in names.items()}
    for place in range(table.num_rows):
        cells = {role: values[place] for role, values in columns.items()}
        yield _row(place + 1, *[cells.get(role) for role in ROLES])


def _columns(schema: pa.Schema) -> dict[str, str]:
    """Return the column of each role; `text` stands for a description that is not there."""
    columns = ColumnSettings()
    if "description" not in schema.names and "text" in schema.names:
        columns = ColumnSettings(description="text")
    near = nearly_the_title(schema.names, columns)
    if near is not None:
        raise SchemaError(
            f"the file has the column {near!r}, not {columns.title!r}. Rename it"
        )
    roles = [role for role in ROLES if role != "ad_id" or "ad_id" in schema.names]
    return resolve_columns("the file", schema, columns, roles)


def _text(cell: bytes) -> str | bytes:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell


def _row(
    number: int,
    ad_id: str | bytes | None,
    title: str | bytes | None,
    description: str | bytes | None,
) -> GivenRow:
    for role, value in zip(ROLES, (ad_id, title, description), strict=True):
        if isinstance(value, bytes):
            return GivenRow(number, problem=f"{role} is not UTF-8")
    shown = "" if ad_id is None else str(ad_id)
    return GivenRow(number, shown, ad_text(title, description))  # type: ignore[arg-type]

"""CSV files: every column as text, any common delimiter, packed or not; no cell is quoted."""

import csv
import io
import lzma
import re
from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from rubert_ood.errors import InputError, SchemaError
from rubert_ood.plain import count_of

CSV_NAME = re.compile(
    r".*\.(csv|tsv)(\.(gz|gzip|bz2|zst|lz4|xz))?", re.IGNORECASE | re.DOTALL
)
CODECS = {"gz": "gzip", "gzip": "gzip", "bz2": "bz2", "zst": "zstd", "lz4": "lz4"}
DELIMITERS = (",", ";", "\t", "|")
"""What a header is tried with, the most usual first."""
SPREADSHEET_HINT = re.compile(rb'(\xef\xbb\xbf)?\s*"?sep=.?"?\s*[\r\n]', re.IGNORECASE)
csv.field_size_limit(2**31 - 1)


def is_csv(uri: str) -> bool:
    """Say whether a name is that of a CSV file, packed or not."""
    return CSV_NAME.fullmatch(uri) is not None


def read_csv(
    uri: str, file: BinaryIO, delimiter: str, columns: Sequence[str] | None = None
) -> tuple[pa.Table, str]:
    """Read a CSV file, every column as text (`007` stays `007`); return it and its delimiter.

    An empty delimiter is recognised from the header: the one that makes most columns of it.
    """
    content = _decompressed(uri, file)
    names, delimiter = _header(uri, content, delimiter)
    for place, name in enumerate(names):  # by place: it may be an ad, and no header
        if name in names[:place]:
            raise SchemaError(
                f"{uri}: columns {names.index(name) + 1} and {place + 1} of the header"
                " have the same name. Rename or drop one"
            )
    _check_rows(uri, content, names, delimiter)
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                include_columns=list(columns) if columns else None,
            ),
        )
    except pa.ArrowException as error:
        raise _unreadable(
            uri, _without_cells(error)
        ) from None  # its words may quote a row
    return table, delimiter


def _unreadable(uri: str, reason: str) -> InputError:
    return InputError(f"{uri}: the file cannot be read as CSV: {reason}")


def _without_cells(error: pa.ArrowException) -> str:
    if "invalid UTF8" in str(error):
        return "the text is not UTF-8. Save the file as UTF-8"
    if "Empty CSV file" in str(error):
        return "Empty CSV file"
    return "a row does not fit the header. Mend the row"


def _decompressed(uri: str, file: BinaryIO) -> bytes:
    suffix = uri.lower().rpartition(".")[2]
    content = bytes(file.read())
    try:
        if suffix == "xz":
            return _from_xz(content)
        if suffix in CODECS:
            packed = pa.BufferReader(content)
            return bytes(pa.CompressedInputStream(packed, CODECS[suffix]).read())
    except (lzma.LZMAError, EOFError, OSError) as error:
        raise _unreadable(
            uri, f"it does not decompress ({error}). Write the file again"
        ) from error
    return content


def _from_xz(content: bytes) -> bytes:
    """Decompress all streams of an xz file; `lzma` would leave out those after the first one that
    is damaged."""
    found = []
    while content:
        stream = lzma.LZMADecompressor()
        found.append(stream.decompress(content))
        if not stream.eof:
            raise EOFError("it ends before its end marker")
        content = stream.unused_data.lstrip(b"\0")  # padding
    return b"".join(found)


def _header(uri: str, content: bytes, delimiter: str) -> tuple[list[str], str]:
    """Return the column names, and the delimiter that separates them."""
    if SPREADSHEET_HINT.match(content):
        raise _unreadable(
            uri, "the first line, `sep=`, is a hint for spreadsheets. Remove that line"
        )
    candidates = [delimiter] if delimiter else DELIMITERS
    headers = {candidate: _first_row(uri, content, candidate) for candidate in candidates}
    plain = [
        name for name in candidates if not any('"' in cell for cell in headers[name])
    ]
    # the first of equals
    best = max(plain or candidates, key=lambda name: len(headers[name]))
    return headers[best], best


def _first_row(uri: str, content: bytes, delimiter: str) -> list[str]:
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    try:
        return next((row for row in csv.reader(text, delimiter=delimiter) if row), [])
    except UnicodeDecodeError as error:
        raise _unreadable(uri, "the text is not UTF-8. Save the file as UTF-8") from error
    except csv.Error as error:
        raise _unreadable(uri, str(error)) from error


def _check_rows(
    uri: str,
    content: bytes,
    names: list[str],
    delimiter: str,
) -> None:
    """Refuse a row of another length, and a quote that is never closed or closed inside a value.

    pyarrow would quote the first in its message, and swallow rows at the second.
    """
    text = io.TextIOWrapper(
        io.BytesIO(content), "utf-8-sig", errors="replace", newline=""
    )
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in rows:
            if row and len(row) != len(names):
                found = count_of(len(row), "column")
                raise _unreadable(
                    uri,
                    f"the row that begins in line {line} has {found}, the"
                    f" header has {len(names)}. Mend the row, or set"
                    f" columns.delimiter (now {delimiter!r})",
                )
            line = rows.line_num + 1
    except csv.Error as error:
        raise _unreadable(
            uri, f"the row that begins in line {line} is damaged ({error}). Mend the row"
        ) from error


def to_csv(table: pa.Table) -> bytes:
    """Return a table as CSV in UTF-8, with a header and commas."""
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()

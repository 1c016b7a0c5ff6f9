"""Which files below a URI are tables, which are not, and which ought to be readable and are not."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rubert_ood import storage
from rubert_ood.ads.csv_table import is_csv
from rubert_ood.ads.lakehouse import drop_tables, refuse_parts_of_tables
from rubert_ood.errors import InputError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.storage.listing import (
    FileInfo,
    Listing,
    is_left_by_writer,
    list_below,
)
from rubert_ood.storage.retry import explained, retried

log = StepLog("data")

NUM_NAMED = 5
SNIFF_THREADS = 32
PARQUET_MAGIC = (b"PAR1", b"PARE")
NOT_DATA = re.compile(
    r".*\.(md|rst|txt|html?|pdf|png|jpe?g|svg|ya?ml|toml|ini|cfg|log|lock|md5|sha1|sha256|sig|asc|py"
    r"|sql|sh|ipynb|done|ok|ready|tmp)"
    r"|_?(readme|licen[cs]e|notice|changelog|manifest|schema|metadata|checksums?|md5sums|sha256sums"
    r"|makefile|dockerfile)(\..*)?"
)
"""Lower-case names of files that stand beside data and hold none."""


@dataclass(frozen=True)
class Ignored:
    """Files that are not read. What writers of tables leave behind is not counted."""

    num_files: int = 0
    num_like_data: int = 0
    """Those that look like data: of an unknown kind, and not empty."""
    names: list[str] = field(default_factory=list)
    """URIs of the first few, those that look like data first."""


@dataclass(frozen=True)
class Tables:
    """The tables below a URI, and what is not read."""

    files: list[FileInfo]
    """Parquet and CSV, sorted by URI."""
    ignored: Ignored
    unreadable: dict[str, str]
    """URI -> what is wrong: a link that leads nowhere, a folder that may not be listed."""
    folders: list[str]
    """The folders on a disk whose files are read, as they were reached, links and all; sorted."""


def list_tables(uri: str) -> list[FileInfo]:
    """List the Parquet and CSV files under a URI, and warn of the files that are not read.

    Raises InputError when there are none, or when a folder below cannot be listed.
    """
    tables = survey_tables(uri)
    for name, reason in tables.unreadable.items():
        raise InputError(f"{name}: {reason}")
    warn_of_ignored(tables.ignored, "data")
    return tables.files


def survey_tables(uri: str) -> Tables:
    """Look at every file below a URI. Raises InputError when it holds no table, good or bad."""
    listing = list_below(uri)
    refuse_parts_of_tables(listing)
    kept, dropped = drop_tables(listing)
    files, others = _split(kept, listing)
    unreadable = {}
    for name, reason in listing.unreadable.items():
        if is_left_by_writer(listing.inner(name)):
            continue
        if (
            reason.startswith("this link")
            and not is_csv(name)
            and not _is_parquet_name(name)
        ):
            others.append(FileInfo(name, 1, ""))
        else:
            unreadable[name] = reason
    for name in listing.loops:
        log.warning("%s: links to a folder above itself, which is read only once", name)
    if not files and not unreadable:
        raise InputError(_nothing_here(uri, others))
    files.sort(key=lambda file: file.uri)
    read = [
        name for name in listing.folders if not is_left_by_writer(listing.inner(name))
    ]
    return Tables(files, _ignored(others, dropped), unreadable, sorted(read))


def warn_of_ignored(ignored: Ignored, step: str) -> None:
    """Name the files that are not read, if there are any."""
    if ignored.num_files:
        more = ", ..." if ignored.num_files > len(ignored.names) else ""
        StepLog(step).warning(
            f"does not read {count_of(ignored.num_files, 'file')}"
            f" ({ignored.num_like_data:,} like data):"
            f" {', '.join(ignored.names)}{more}"
        )


def _split(
    files: list[FileInfo], listing: Listing
) -> tuple[list[FileInfo], list[FileInfo]]:
    """Part the tables from the other files; those that have no telling name are looked into."""
    tables, unknown, others = list[FileInfo](), list[FileInfo](), list[FileInfo]()
    for file in files:
        if is_left_by_writer(listing.inner(file.uri)):
            continue
        if is_csv(file.uri) or _is_parquet_name(file.uri):
            tables.append(file)
        elif file.size >= len(PARQUET_MAGIC[0]):
            unknown.append(file)
        else:
            others.append(file)
    with ThreadPoolExecutor(SNIFF_THREADS) as pool:
        heads = pool.map(lambda file: _head(file.uri), unknown)
        for file, head in zip(unknown, heads, strict=True):
            (tables if head in PARQUET_MAGIC else others).append(file)
    return tables, others


def _is_parquet_name(uri: str) -> bool:
    return uri.lower().endswith((".parquet", ".parq", ".pq"))


@retried
def _head(uri: str) -> bytes:
    fs, path = storage.filesystem(uri)
    with explained(uri):
        return bytes(fs.cat_file(path, start=0, end=len(PARQUET_MAGIC[0])))


def _ignored(others: Iterable[FileInfo], dropped: Iterable[FileInfo]) -> Ignored:
    """`dropped` are files that the log of a table does not name: they are no data of it."""
    like_data = sorted(file.uri for file in others if _looks_like_data(file))
    rest = sorted({file.uri for file in [*others, *dropped]} - {*like_data})
    names = [*like_data, *rest]
    return Ignored(len(names), len(like_data), names[:NUM_NAMED])


def _looks_like_data(file: FileInfo) -> bool:
    name = file.uri.rpartition("/")[2].lower()
    return file.size > 0 and NOT_DATA.fullmatch(name) is None


def _nothing_here(uri: str, others: list[FileInfo]) -> str:
    missing = f"{uri}: no Parquet or CSV file is here"
    if not others:
        return f"{missing}. Check the path"
    found = f"{missing} (but other files, such as {others[0].uri})"
    return f"{found}. Convert them to Parquet or CSV, or check the path"

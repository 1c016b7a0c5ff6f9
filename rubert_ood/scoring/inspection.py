"""Input files -> what their footers say, or quarantined with a reason."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from rubert_ood.ads.absent import warn_of_absent
from rubert_ood.ads.schema import city_column, resolve_columns
from rubert_ood.ads.sources import Tables
from rubert_ood.ads.tables import inspect
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.plain import count_of
from rubert_ood.progress import Progress, StepLog
from rubert_ood.runs.plan import QuarantinedFile, Shard, digest
from rubert_ood.scoring.carry import CarriedTypes
from rubert_ood.settings import DaySettings
from rubert_ood.storage.listing import FileInfo

log = StepLog("plan")

ROLES = ("ad_id", "title", "description")
INSPECT_THREADS = 32


@dataclass(frozen=True)
class GoodFile:
    """A table whose footer could be read, and whose columns suffice."""

    file: FileInfo
    row_groups: list[int]
    """Rows of each."""
    delimiter: str
    """Of a CSV file."""
    columns: dict[str, str]
    """Role -> column."""


@dataclass
class Inspected:
    """What the footers say."""

    good: list[GoodFile] = field(default_factory=list)
    quarantined: list[QuarantinedFile] = field(default_factory=list)

    @property
    def empty_files(self) -> list[str]:
        """URIs of the tables without rows."""
        return [table.file.uri for table in self.good if not sum(table.row_groups)]


def inspect_files(
    found: Tables, settings: DaySettings, carried: CarriedTypes, *, count_cities: bool
) -> Inspected:
    """Read all footers in parallel, and widen the types of the carried columns.

    Raises the error of the first bad file under `on_bad_file: fail`.
    """
    result = Inspected()
    total = sum(file.size for file in found.files)
    for uri, reason in found.unreadable.items():
        # how much is missing is not known: it counts as much as all the rest, for the gate
        _quarantine(
            result, FileInfo(uri, total, ""), InputError(f"{uri}: {reason}"), settings
        )
    progress = Progress("plan", len(found.files), "files")
    with ThreadPoolExecutor(INSPECT_THREADS) as pool:
        outcomes = pool.map(
            lambda file: _inspect(file, settings, count_cities), found.files
        )
        for file, outcome in zip(found.files, outcomes, strict=True):
            progress.add(1)
            try:
                if not isinstance(outcome, tuple):
                    raise outcome
                good, schema = outcome
                carried.add(file.uri, schema)
                result.good.append(good)
            except (SchemaError, InputError) as error:
                _quarantine(result, file, error, settings)
    _say_delimiters(result)
    columns = [table.columns for table in result.good]
    warn_of_absent(columns, settings.columns, step="plan")
    return result


def cut_files(files: list[GoodFile], shard_rows: int) -> list[Shard]:
    """Cut every file into shards of about so many rows, and number them."""
    shards = list[Shard]()
    for table in files:
        uri = table.file.uri
        for start, stop in _cut(table.row_groups, shard_rows):
            shard = Shard(
                shard_id=f"{len(shards):05d}-{digest([uri, start, stop])[:8]}",
                uri=uri,
                columns=table.columns,
                start=start,
                stop=stop,
                version=table.file.version,
                delimiter=table.delimiter,
            )
            shards.append(shard)
    return shards


def _quarantine(
    result: Inspected,
    file: FileInfo,
    error: SchemaError | InputError,
    settings: DaySettings,
) -> None:
    if settings.on_bad_file == "fail":
        raise error
    result.quarantined.append(
        QuarantinedFile(uri=file.uri, reason=str(error), size=file.size)
    )


def _inspect(
    file: FileInfo, settings: DaySettings, count_cities: bool
) -> tuple[GoodFile, pa.Schema] | SchemaError | InputError:
    try:
        info = inspect(
            file.uri, version=file.version, delimiter=settings.columns.delimiter or ""
        )
        columns = resolve_columns(
            file.uri, info.schema, settings.columns, ROLES, carry=settings.carry_columns
        )
    except (SchemaError, InputError) as error:
        return error
    if count_cities:
        columns |= city_column(info.schema, settings.columns)
    return GoodFile(file, info.row_groups, info.delimiter, columns), info.schema


def _say_delimiters(result: Inspected) -> None:
    """Name what was recognised: a delimiter other than the comma."""
    counts = Counter(table.delimiter for table in result.good)
    for delimiter, count in counts.items():
        if delimiter not in ("", ","):
            log.info(
                "reads %s with the delimiter %r", count_of(count, "CSV file"), delimiter
            )


def _cut(row_groups: list[int], shard_rows: int) -> Iterator[tuple[int, int]]:
    """Cut a file by whole row groups of about shard_rows together; a larger row group is cut
    inside."""
    start = end = 0
    for rows in row_groups:
        if end > start and end + rows - start > shard_rows:
            yield start, end
            start = end
        end += rows
        while end - start >= 2 * shard_rows:
            yield start, start + shard_rows
            start += shard_rows
    if end > start:
        yield start, end

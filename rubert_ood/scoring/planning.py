"""Input files -> checked, quarantined with a reason, or cut into shards."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from rubert_ood import __version__, storage
from rubert_ood.ads.schema import city_column, resolve_columns
from rubert_ood.ads.sources import Tables, survey_tables, warn_of_ignored
from rubert_ood.ads.tables import TableInfo, inspect
from rubert_ood.bundle import Bundle
from rubert_ood.errors import InputError, SchemaError, SettingsError
from rubert_ood.progress import Progress
from rubert_ood.runs.part import part_schema
from rubert_ood.runs.plan import (
    BundleName,
    Plan,
    QuarantinedFile,
    Shard,
    digest,
    pack_schema,
    run_folder,
)
from rubert_ood.scoring.carry import CarriedTypes, check_names
from rubert_ood.settings import Precision, ScoreSettings
from rubert_ood.storage.listing import FileInfo, list_below, literal_head

log = logging.getLogger(__name__)

ROLES = ("ad_id", "title", "description")
INSPECT_THREADS = 32
SHARD_ROWS = {True: 20_000, False: 2_000}
"""By use_gpu: some minutes of work of a BERT-base, or less, so that a run shows progress and loses
little."""
TOKEN_BUDGET = {True: 65_536, False: 2_048}
"""By use_gpu: a GPU wants large products, a CPU batches that stay in its cache
(docs/performance.md)."""


@dataclass
class _Inspected:
    """What the footers say."""

    tables: dict[str, tuple[FileInfo, TableInfo, dict[str, str]]] = field(default_factory=dict)
    """By URI: the file, its schema and rows, role -> column."""
    quarantined: list[QuarantinedFile] = field(default_factory=list)


def make_plan(settings: ScoreSettings, bundle: Bundle) -> Plan:
    """Check every input file and cut the good ones.

    Raises InputError when there is nothing to score, and the first bad file's own error under
    `on_bad_file: fail`.
    """
    check_names(
        settings.carry_columns, part_schema([], 1, {}, subheads=bundle.subheads is not None).names
    )
    _check_precision(settings, bundle)
    input_uri = storage.absolute(settings.input_uri)
    output_uri = storage.absolute(settings.output_uri)
    check_apart(input_uri, output_uri)
    found = survey_tables(input_uri)
    _warn_of_ignored(found, settings)
    carried = CarriedTypes(settings.carry_columns)
    inspected = _inspect_all(found, settings, carried, count_cities=bool(bundle.cleaner.cities))
    shards = _cut_all(inspected, settings.shard_rows or SHARD_ROWS[settings.use_gpu])
    if not shards:
        reasons = "; ".join(item.reason for item in inspected.quarantined[:3])
        nothing = f"no rows to score in {len(found.files)} file(s) {reasons}".rstrip()
        raise InputError(f"{settings.input_uri}: {nothing}")
    token_budget = settings.token_budget or TOKEN_BUDGET[settings.use_gpu]
    identity = _identity(settings, bundle, found.files, shards, token_budget)
    fingerprint = digest(identity)
    run_id = settings.run_id or fingerprint[:12]
    return Plan(
        run_uri=run_folder(output_uri, settings.run_date, run_id),
        run_id=run_id,
        run_date=settings.run_date.isoformat(),
        fingerprint=fingerprint,
        identity=identity,
        bundle=BundleName(uri=bundle.uri, version=bundle.version, fingerprint=bundle.fingerprint),
        input_uri=settings.input_uri,
        output_uri=output_uri,
        carry_columns=list(settings.carry_columns),
        embedding=settings.embedding,
        use_gpu=settings.use_gpu,
        precision=bundle.precision,
        token_budget=token_budget,
        shards=shards,
        quarantined=inspected.quarantined,
        empty_files=[
            uri for uri, (_, info, _) in inspected.tables.items() if not sum(info.row_groups)
        ],
        input_bytes=sum(file.size for file in found.files),
        report_texts=settings.report_texts,
        ignored=found.ignored,
        carry_schema=pack_schema(carried.schema()),
    )


def _identity(
    settings: ScoreSettings,
    bundle: Bundle,
    files: list[FileInfo],
    shards: list[Shard],
    token_budget: int,
) -> dict[str, str]:
    return {
        "input files": digest([asdict(file) for file in files]),
        "bundle": bundle.fingerprint,
        "columns": digest([settings.columns.model_dump(), settings.carry_columns]),
        "shards": digest([asdict(replace(shard, version="")) for shard in shards]),
        "embedding": str(settings.embedding),
        "precision": _precision(bundle.precision, settings.use_gpu, token_budget),
        "report_texts": str(settings.report_texts),
        "run_date": settings.run_date.isoformat(),
        "code version": f"{__version__} {code_digest()[:12]}",
    }


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return the SHA-256 of the sources of this package: another code may decide otherwise."""
    folder = Path(__file__).parents[1]
    sources = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    contents = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sources]
    return digest([sources, contents])


def _warn_of_ignored(found: Tables, settings: ScoreSettings) -> None:
    warn_of_ignored(found.ignored, "plan")
    limit = settings.gate.max_ignored_files
    if found.ignored.num_like_data > limit:
        log.warning(
            "plan      the gate will refuse to publish this run: gate.max_ignored_files is %d",
            limit,
        )


def check_apart(input_uri: str, output_uri: str) -> None:
    """Raise SettingsError when a run would read what a run has written, or write among what it
    reads."""
    source, target = _names(input_uri), _names(output_uri)
    is_literal = storage.exists(input_uri)
    part = [*target, "run_date=2026-01-01", "run_id=x", "part.parquet"]
    if "**" in source and not is_literal:
        source = source[: source.index("**")]
    inside = len(source) <= len(part) and all(
        name == pattern or (not is_literal and fnmatchcase(name, pattern))
        for name, pattern in zip(part, source, strict=False)
    )
    if inside:
        raise SettingsError(
            f"output_uri: {output_uri} lies in the input {input_uri}; name a folder outside of it"
        )
    base = source if is_literal else _names(literal_head(input_uri))
    is_below = len(base) > len(target) and base[: len(target)] == target
    if is_below and not (is_literal and _is_one_file(input_uri)):
        raise SettingsError(
            f"input_uri: {input_uri} lies in the output {output_uri}; name an output outside of it"
        )


def _is_one_file(uri: str) -> bool:
    listing = list_below(uri)
    return [file.uri for file in listing.files] == [listing.base]


def _names(uri: str) -> list[str]:
    if storage.is_s3(uri):
        return uri.split("://", 1)[1].strip("/").split("/")
    return os.path.realpath(uri).strip("/").split("/")


def _check_precision(settings: ScoreSettings, bundle: Bundle) -> None:
    if settings.precision not in (None, bundle.precision):
        raise SettingsError(
            f"precision: the bundle {bundle.version} was fitted in {bundle.precision}, and is"
            " scored in nothing else; leave the setting out, or train with precision"
            f" {settings.precision}"
        )
    if settings.use_gpu and bundle.precision == "int8":
        raise SettingsError(
            f"use_gpu: the bundle {bundle.version} was fitted in int8, which is for CPU"
        )
    if bundle.precision == "bf16" and not settings.use_gpu:
        log.warning(
            "plan      bundle %s was fitted in bf16: slow on CPU; train with precision fp32",
            bundle.version,
        )


def _precision(precision: Precision, use_gpu: bool, token_budget: int) -> str:
    """Name what the last digits of a score depend on; in int8 these are also the ads of its
    batch."""
    batches = f" in batches of {token_budget} tokens" if precision == "int8" else ""
    return f"{precision} on {'GPU' if use_gpu else 'CPU'}{batches}"


def _inspect_all(
    found: Tables, settings: ScoreSettings, carried: CarriedTypes, *, count_cities: bool
) -> _Inspected:
    """Read all footers in parallel: good tables by URI, and the bad files with their reasons."""
    result = _Inspected()
    total = sum(file.size for file in found.files)
    for uri, reason in found.unreadable.items():
        # how much is missing is not known: it counts as much as all the rest, for the gate
        _quarantine(result, FileInfo(uri, total, ""), InputError(f"{uri}: {reason}"), settings)
    progress = Progress("plan", len(found.files), "files")
    with ThreadPoolExecutor(INSPECT_THREADS) as pool:
        outcomes = pool.map(lambda file: _inspect(file, settings, count_cities), found.files)
        for file, outcome in zip(found.files, outcomes, strict=True):
            progress.add(1)
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                carried.add(file.uri, outcome[0].schema)
                result.tables[file.uri] = (file, *outcome)
            except (SchemaError, InputError) as error:
                _quarantine(result, file, error, settings)
    _say_delimiters(result)
    return result


def _quarantine(
    result: _Inspected, file: FileInfo, error: SchemaError | InputError, settings: ScoreSettings
) -> None:
    if settings.on_bad_file == "fail":
        raise error
    result.quarantined.append(QuarantinedFile(uri=file.uri, reason=str(error), size=file.size))


def _inspect(
    file: FileInfo, settings: ScoreSettings, count_cities: bool
) -> tuple[TableInfo, dict[str, str]] | SchemaError | InputError:
    try:
        info = inspect(file.uri, version=file.version, delimiter=settings.columns.delimiter or "")
        columns = resolve_columns(
            file.uri, info.schema, settings.columns, ROLES, carry=settings.carry_columns
        )
        return info, columns | (city_column(info.schema, settings.columns) if count_cities else {})
    except (SchemaError, InputError) as error:
        return error


def _say_delimiters(result: _Inspected) -> None:
    """Name what was recognised: a delimiter other than the comma."""
    counts = Counter(info.delimiter for _, info, _ in result.tables.values())
    for delimiter, count in counts.items():
        if delimiter not in ("", ","):
            log.info("plan      %d CSV file(s) separated by %r", count, delimiter)


def _cut_all(inspected: _Inspected, shard_rows: int) -> list[Shard]:
    """Cut every file, and number the shards."""
    shards = list[Shard]()
    for file, info, columns in inspected.tables.values():
        for start, stop in _cut(info.row_groups, shard_rows):
            name = f"{len(shards):05d}-{digest([file.uri, start, stop])[:8]}"
            shards.append(Shard(name, file.uri, columns, start, stop, file.version, info.delimiter))
    return shards


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

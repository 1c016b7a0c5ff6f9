"""Input files -> checked, set aside with a reason, or cut into shards. The plan is on storage before any work starts.

A shard is a range of rows in one file. Its id depends on nothing but that range, and the part that it becomes has its
name from the id: a shard that is scored twice writes the same object twice.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from rubert_ood import __version__, storage
from rubert_ood.ads.schema import city_column, resolve_columns
from rubert_ood.ads.tables import TableInfo, inspect, list_tables
from rubert_ood.bundle import Bundle
from rubert_ood.errors import InputError, SchemaError, SettingsError
from rubert_ood.progress import Progress
from rubert_ood.scoring.control import Day, PlainName, parse
from rubert_ood.scoring.records import part_schema
from rubert_ood.settings import Precision, ScoreSettings

log = logging.getLogger(__name__)

ROLES = ("ad_id", "title", "description")
INSPECT_THREADS = 32
SHARD_ROWS = {True: 20_000, False: 2_000}
"""By use_gpu: some minutes of work of a BERT-base, or less, so that a run shows progress and loses little."""
TOKEN_BUDGET = {True: 65_536, False: 2_048}
"""By use_gpu: a GPU wants large products, a CPU batches that stay in its cache (docs/performance.md)."""
PLAN_FILE = "plan.json"
ShardId = PlainName


@dataclass(frozen=True)
class Shard:
    shard_id: ShardId
    uri: str
    columns: dict[str, str]
    """Role -> column of this file."""
    start: int
    stop: int

    @property
    def num_rows(self) -> int:
        return self.stop - self.start

    @property
    def part_name(self) -> str:
        return f"part-{self.shard_id}.parquet"


@dataclass(frozen=True)
class Plan:
    run_uri: str
    run_id: str
    run_date: Day
    fingerprint: str
    """Digest of all that changes results: input files, bundle, settings."""
    identity: dict[str, str]
    """The digests that went into the fingerprint, so that a difference can be named."""
    bundle: dict[str, str]
    input_uri: str
    output_uri: str
    carry_columns: list[str]
    embedding: bool
    use_gpu: bool
    precision: Precision
    token_budget: int
    shards: list[Shard]
    quarantined: list[dict[str, Any]]
    """Files that were set aside: uri, reason, size in bytes."""
    empty_files: list[str]
    """Files without a row."""
    input_bytes: int
    report_texts: bool = True
    """Whether texts of ads may stand in the records of the run; older plans do not say."""

    @property
    def num_rows(self) -> int:
        return sum(shard.num_rows for shard in self.shards)


def make_plan(settings: ScoreSettings, bundle: Bundle) -> Plan:
    """Check every input file and cut the good ones.

    Raises InputError when there is nothing to score, and the first bad file's own error under `on_bad_file: fail`.
    """
    _check_carry_columns(settings.carry_columns, bundle)
    _check_precision(settings, bundle)
    files = list_tables(storage.absolute(settings.input_uri))
    tables, quarantined = _inspect_all(files, settings, count_cities=bool(bundle.cleaner.cities))
    shard_rows = settings.shard_rows or SHARD_ROWS[settings.use_gpu]
    shards = [shard for file in files if file.uri in tables for shard in _cut(file.uri, *tables[file.uri], shard_rows)]
    shards = [
        Shard(f"{number:05d}-{shard.shard_id}", shard.uri, shard.columns, shard.start, shard.stop)
        for number, shard in enumerate(shards)
    ]
    if not shards:
        reasons = "; ".join(item["reason"] for item in quarantined[:3])  # each names its file
        raise InputError(f"{settings.input_uri}: no rows to score in {len(files)} file(s) {reasons}".rstrip())
    token_budget = settings.token_budget or TOKEN_BUDGET[settings.use_gpu]
    identity = {
        "input files": _digest([asdict(file) for file in files]),
        "bundle": bundle.fingerprint,
        "columns": _digest([settings.columns.model_dump(), settings.carry_columns]),
        "shards": _digest([asdict(shard) for shard in shards]),
        "embedding": str(settings.embedding),
        "precision": _precision(bundle.precision, settings.use_gpu, token_budget),
        "report_texts": str(settings.report_texts),
        "run_date": settings.run_date.isoformat(),
        "code version": __version__,
    }
    fingerprint = _digest(identity)
    run_id = settings.run_id or fingerprint[:12]
    output_uri = storage.absolute(settings.output_uri)
    return Plan(
        run_uri=run_folder(output_uri, settings.run_date, run_id),
        run_id=run_id,
        run_date=settings.run_date.isoformat(),
        fingerprint=fingerprint,
        identity=identity,
        bundle={"uri": bundle.uri, "version": bundle.version, "fingerprint": bundle.fingerprint},
        input_uri=settings.input_uri,
        output_uri=output_uri,
        carry_columns=list(settings.carry_columns),
        embedding=settings.embedding,
        use_gpu=settings.use_gpu,
        precision=bundle.precision,
        token_budget=token_budget,
        shards=shards,
        quarantined=quarantined,
        empty_files=[uri for uri, (info, _) in tables.items() if not sum(info.row_groups)],
        input_bytes=sum(file.size for file in files),
        report_texts=settings.report_texts,
    )


def _check_precision(settings: ScoreSettings, bundle: Bundle) -> None:
    if settings.precision not in (None, bundle.precision):
        raise SettingsError(
            f"precision: the bundle {bundle.version} was fitted in {bundle.precision}, and is scored in nothing else; "
            f"leave the setting out, or train with precision {settings.precision}"
        )
    if settings.use_gpu and bundle.precision == "int8":
        raise SettingsError(f"use_gpu: the bundle {bundle.version} was fitted in int8, which is for CPU")
    if bundle.precision == "bf16" and not settings.use_gpu:
        log.warning("plan      bundle %s was fitted in bf16: slow on CPU; train with precision fp32", bundle.version)


def _precision(precision: Precision, use_gpu: bool, token_budget: int) -> str:
    """Name what the last digits of a score depend on; in int8 these are also the ads of its batch."""
    batches = f" in batches of {token_budget} tokens" if precision == "int8" else ""
    return f"{precision} on {'GPU' if use_gpu else 'CPU'}{batches}"


def _check_carry_columns(names: tuple[str, ...], bundle: Bundle) -> None:
    """Two columns of a part cannot have one name."""
    taken = part_schema([], 1, {}, subheads=bundle.subheads is not None).names
    for position, name in enumerate(names):
        if name in taken or name in names[:position]:
            raise SettingsError(f"carry_columns: {name!r} would stand in the output twice; leave it out or rename it")


def run_folder(output_uri: str, run_date: date, run_id: str) -> str:
    return storage.join(output_uri, f"run_date={run_date.isoformat()}", f"run_id={run_id}")


def save_plan(plan: Plan) -> None:
    """Write the plan into its run folder; a folder that belongs to other work is refused.

    Of two starts at once with other work the one that is first wins; the other is told so.
    """
    uri = storage.join(plan.run_uri, "_run", PLAN_FILE)
    if not storage.exists(uri):
        storage.create_bytes(uri, json.dumps(asdict(plan), ensure_ascii=False, indent=1).encode())
    older = load_plan(plan.run_uri)  # read again: it may be that of the other start
    if older.fingerprint != plan.fingerprint:
        changed = [name for name, value in plan.identity.items() if older.identity.get(name) != value]
        raise SettingsError(
            f"{plan.run_uri} holds a run with other {', '.join(changed)}; give another run_id, or what that run had"
        )


def load_plan(run_uri: str) -> Plan:
    """Read the plan of a run folder, which may have been moved since; InputError when there is none."""
    run_uri = storage.absolute(run_uri.rstrip("/"))
    uri = storage.join(run_uri, "_run", PLAN_FILE)
    plan = parse(uri, storage.read_bytes(uri), TypeAdapter(Plan))
    return replace(plan, run_uri=run_uri, output_uri=run_uri.rsplit("/", 2)[0])


def _inspect_all(
    files: list[storage.FileInfo], settings: ScoreSettings, *, count_cities: bool
) -> tuple[dict[str, tuple[TableInfo, dict[str, str]]], list[dict[str, Any]]]:
    """Read all footers in parallel: good tables by URI, and the bad files with their reasons."""
    tables: dict[str, tuple[TableInfo, dict[str, str]]] = {}
    quarantined = []
    carry_types: dict[str, pa.DataType] = {}
    progress = Progress("plan", len(files), "files")
    with ThreadPoolExecutor(INSPECT_THREADS) as pool:
        for file, outcome in zip(
            files, pool.map(lambda file: _inspect(file, settings, count_cities), files), strict=True
        ):
            progress.add(1)
            error = (
                outcome
                if isinstance(outcome, Exception)
                else _other_carry_type(file.uri, outcome[0], carry_types, settings)
            )
            if error is None:
                assert not isinstance(outcome, Exception)
                tables[file.uri] = outcome
            elif settings.on_bad_file == "fail":
                raise error
            else:
                quarantined.append({"uri": file.uri, "reason": str(error), "size": file.size})
    return tables, quarantined


def _inspect(
    file: storage.FileInfo, settings: ScoreSettings, count_cities: bool
) -> tuple[TableInfo, dict[str, str]] | SchemaError | InputError:
    try:
        info = inspect(file.uri)
        columns = resolve_columns(file.uri, info.schema, settings.columns, ROLES, carry=settings.carry_columns)
        return info, columns | (city_column(info.schema, settings.columns) if count_cities else {})
    except (SchemaError, InputError) as error:
        return error


def _other_carry_type(
    uri: str, info: TableInfo, carry_types: dict[str, pa.DataType], settings: ScoreSettings
) -> SchemaError | None:
    """All parts of a run have one schema: a carried column must have one type in all files."""
    for name in settings.carry_columns:
        expected = carry_types.setdefault(name, info.schema.field(name).type)
        if info.schema.field(name).type != expected:
            return SchemaError(f"{uri}: column {name!r} holds {info.schema.field(name).type}, other files {expected}")
    return None


def _cut(uri: str, info: TableInfo, columns: dict[str, str], shard_rows: int) -> Iterator[Shard]:
    """Cut a file by whole row groups of about shard_rows together; a larger row group is cut inside."""
    start = end = 0
    for rows in info.row_groups:
        if end > start and end + rows - start > shard_rows:
            yield _shard(uri, columns, start, end)
            start = end
        end += rows
        while end - start >= 2 * shard_rows:
            yield _shard(uri, columns, start, start + shard_rows)
            start += shard_rows
    if end > start:
        yield _shard(uri, columns, start, end)


def _shard(uri: str, columns: dict[str, str], start: int, stop: int) -> Shard:
    return Shard(_digest([uri, start, stop])[:8], uri, columns, start, stop)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

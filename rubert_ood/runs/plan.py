"""The plan of a run: its shards, and what its folder belongs to. It is on storage before any work
starts.

A shard is a range of rows in one file of one version. Its id depends on nothing but that range, and
the part that it becomes has its name from the id: a shard that is scored twice writes the same
object twice. Parts are sealed into the files that readers take (seals.py).
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import groupby
from typing import Annotated, Self

import pyarrow as pa
from pydantic import (
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from rubert_ood import storage
from rubert_ood.ads.sources import Ignored
from rubert_ood.errors import InputError, SettingsError
from rubert_ood.ood.promise import Promise
from rubert_ood.runs.record import Count, Day, PlainName, Record, parse
from rubert_ood.runs.reuse import ReusedRun
from rubert_ood.settings import Precision, SortBy

PLAN_FILE = "plan.json"
PARTS, PART_SUFFIX = "_parts", ".scored"
ShardId = PlainName


@dataclass(frozen=True, slots=True)
class Shard:
    """A range of rows in one file of one version."""

    shard_id: ShardId
    uri: str
    columns: dict[str, str]
    """Role -> column of this file."""
    start: int
    stop: int
    version: str = ""
    """Of the file; rows of another version are never read. Older plans do not say."""
    delimiter: str = ""
    """Of a CSV file."""

    @property
    def num_rows(self) -> int:
        """Rows in the range."""
        return self.stop - self.start

    @property
    def part_name(self) -> str:
        """Of its part, below the run folder: Parquet where no reader of ads looks, by a suffix that
        none takes."""
        return f"{PARTS}/{self.shard_id}{PART_SUFFIX}"

    @property
    def older_part_name(self) -> str:
        """What version 0.4.0 and before called it: readers took the parts themselves."""
        return older_part_name(self.shard_id)

    @property
    def rejected_name(self) -> str:
        """Of its rejected rows, below the run folder: Parquet by a suffix that no reader of ads
        takes."""
        return f"_errors/{self.shard_id}.rejected"

    @property
    def older_rejected_name(self) -> str:
        """What version 0.2.0 called it."""
        return f"_errors/{self.older_part_name}"


@dataclass(frozen=True)
class ShardsOfFile:
    """The shards of a file as plan.json has them: what they have in common stands there once."""

    uri: str
    columns: dict[str, str]
    version: str
    delimiter: str
    shards: list[tuple[ShardId, int, int]]
    """Id, start and stop of each."""


SHARDS_OF_FILES = TypeAdapter(list[ShardsOfFile])


def by_file(shards: Sequence[Shard]) -> list[ShardsOfFile]:
    """Put the shards of each file together, in their order."""
    files = []
    for common, group in groupby(shards, key=_what_is_common):
        ranges = [(shard.shard_id, shard.start, shard.stop) for shard in group]
        files.append(ShardsOfFile(*common, ranges))
    return files


def _what_is_common(shard: Shard) -> tuple[str, dict[str, str], str, str]:
    return shard.uri, shard.columns, shard.version, shard.delimiter


def _read_shards(
    content: object, read_older: ValidatorFunctionWrapHandler
) -> list[Shard]:
    """Take the shards of files apart; older plans list shard after shard."""
    items = content if isinstance(content, list) else [content]
    if not all(isinstance(item, dict) and "shards" in item for item in items):
        return read_older(content)
    shards = []
    for file in SHARDS_OF_FILES.validate_python(items):
        for shard_id, start, stop in file.shards:
            ids = (shard_id, file.uri, file.columns, start, stop)
            shards.append(Shard(*ids, file.version, file.delimiter))
    return shards


class BundleName(Record):
    """The bundle that a run was scored with."""

    uri: str = ""
    version: str = ""
    fingerprint: str
    alias: str = ""
    """The URI of the champion or of a registered model, where the job was given that; resolved when
    the run was planned."""
    registered: str = ""
    """models:/NAME/VERSION, where that or an alias of it was given; older records do not say."""
    promises: list[Promise] = Field([])
    """What its decision promises of ads like those that tested it."""


class QuarantinedFile(Record):
    """An input file that is not scored, and why."""

    uri: str
    reason: str
    size: Count = 0
    """In bytes."""


@dataclass(frozen=True)
class Plan:
    """What a run does; two plans of one fingerprint give the same rows."""

    run_uri: str
    run_id: str
    run_date: Day
    fingerprint: str
    """Digest of all that changes results: input files, bundle, settings."""
    identity: dict[str, str]
    """The digests that went into the fingerprint, so that a difference can be named."""
    bundle: BundleName
    input_uri: str
    output_uri: str
    carry_columns: list[str]
    embedding: bool
    use_gpu: bool
    precision: Precision
    token_budget: int
    shards: Annotated[list[Shard], WrapValidator(_read_shards), PlainSerializer(by_file)]
    quarantined: list[QuarantinedFile]
    empty_files: list[str]
    """Files without a row."""
    input_bytes: int
    report_texts: bool = True
    """Whether texts of ads may stand in the records of the run; older plans do not say."""
    ignored: Ignored = field(default_factory=Ignored)
    """Files below the input that are not read."""
    carry_schema: str = ""
    """Types of the carried columns, one over all files: see `pack_schema`. Older plans do not
    say."""
    reuse: ReusedRun | None = None
    """The run whose results are taken over; not in the fingerprint, as it changes no result by
    more than the tolerance of the numeric precision."""
    target_file_mb: int | None = None
    """Size of the files that the parts are sealed into, in MB; None in plans of versions whose
    readers take the parts."""
    sort_by: SortBy = "none"
    """Order of the rows in a sealed file."""

    @property
    def num_rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def is_sealed(self) -> bool:
        """Whether the parts of the run are sealed into files."""
        return self.target_file_mb is not None

    def part_uri(self, shard: Shard) -> str:
        """Return where the part of a shard lies."""
        name = shard.part_name if self.is_sealed else shard.older_part_name
        return storage.join(self.run_uri, name)

    def without_shards(self) -> Self:
        """Return it small enough to travel with every task."""
        return replace(self, shards=[], quarantined=[], empty_files=[])


class PlanIdentity(Record):
    """What of a plan tells whether it is of the same work."""

    fingerprint: str
    identity: dict[str, str]
    reuse: ReusedRun | None = None
    bundle: BundleName | None = None


PLAN, IDENTITY = TypeAdapter(Plan), TypeAdapter(PlanIdentity)


def older_part_name(shard_id: str) -> str:
    """Return what version 0.4.0 and before called the part of a shard, below the run folder."""
    return f"part-{shard_id}.parquet"


def run_folder(output_uri: str, run_date: date, run_id: str) -> str:
    """Return where a run lies below an output."""
    return storage.join(
        output_uri, f"run_date={run_date.isoformat()}", f"run_id={run_id}"
    )


def save_plan(plan: Plan) -> Plan:
    """Write the plan into its run folder; a folder that belongs to other work is refused.

    When two starts with different work race, the first wins and the other is refused. Returns
    the plan with the reused run of the saved plan.
    """
    uri = storage.join(plan.run_uri, "_run", PLAN_FILE)
    if not storage.exists(uri):
        storage.create_bytes(uri, PLAN.dump_json(plan))
    # read again: it may be that of the other start
    older = parse(uri, storage.read_bytes(uri), IDENTITY)
    if older.fingerprint != plan.fingerprint:
        changed = [
            name
            for name, value in plan.identity.items()
            if older.identity.get(name) != value
        ]
        raise SettingsError(
            f"{plan.run_uri}: this folder holds a run that differs in"
            f" {', '.join(changed)}. Choose another run_id, or set the"
            " values of that run"
        )
    return replace(plan, reuse=older.reuse)


def find_identity(run_uri: str) -> PlanIdentity | None:
    """Read of which work a run folder is; None where no run was planned in it."""
    uri = storage.join(run_uri, "_run", PLAN_FILE)
    data = storage.read_optional(uri)
    return None if data is None else parse(uri, data, IDENTITY)


def load_plan(run_uri: str) -> Plan:
    """Read the plan of a run folder, which may have been moved since; InputError when there is
    none."""
    run_uri = storage.absolute(run_uri)
    uri = storage.join(run_uri, "_run", PLAN_FILE)
    data = storage.read_optional(uri)
    if data is None:
        raise InputError(
            f"{run_uri}: this is not the folder of a run (it has no _run/{PLAN_FILE})."
            " Use one such as OUTPUT/run_date=DAY/run_id=ID"
        )
    plan = parse(uri, data, PLAN)
    return replace(plan, run_uri=run_uri, output_uri=run_uri.rsplit("/", 2)[0])


def pack_schema(schema: pa.Schema) -> str:
    """Write a schema as text, for JSON."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def unpack_schema(text: str) -> pa.Schema:
    """Read what `pack_schema` wrote; "" is a schema without fields."""
    return (
        pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
        if text
        else pa.schema([])
    )


def digest(content: object) -> str:
    """Return the SHA-256 of plain content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()

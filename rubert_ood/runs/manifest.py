"""The manifest of a run: what it is, what its receipts add up to, and what became of it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, model_validator

from rubert_ood import __version__, storage
from rubert_ood.ads.sources import Ignored
from rubert_ood.clock import utc_now
from rubert_ood.errors import PartialRunError
from rubert_ood.runs.cost import Cost
from rubert_ood.runs.duplicate_ids import Duplicates
from rubert_ood.runs.estimates import NightEstimates
from rubert_ood.runs.plan import BundleName, Plan, QuarantinedFile, older_part_name
from rubert_ood.runs.receipts import QuarantinedShard, Receipt
from rubert_ood.runs.record import Day, Moment, Record, RelativePath, parse
from rubert_ood.runs.reuse import IndexName, ReusedRun, ReuseStop
from rubert_ood.runs.seals import DataFile
from rubert_ood.runs.shard_sums import SCORED_SHARDS, sum_shards
from rubert_ood.runs.sums import Sums, Tally

T = TypeVar("T")
Outcome = Literal[
    "running", "partial", "interrupted", "complete", "refused", "published", "rolled_back"
]
MANIFEST_FILE = "manifest.json"
FORMAT = 3
"""1, of version 0.3.0 and before, lacks some of what has a default here; 1 and 2 list all shards,
and have no files: readers took the parts."""
SWAP_ATTEMPTS = 5
WHOLE = ("complete", "refused", "published", "rolled_back")
"""Outcomes of a run whose shards are all scored or quarantined."""


class Check(Record):
    """What the gate found."""

    check: str
    """The setting that limits it."""
    value: float
    limit: float
    ok: bool

    def against(self) -> str:
        """Say limit and value, for a message; the value has the digits that tell them apart."""
        limit = _in_digits(self.limit, 6)
        for digits in range(4, 18):
            found = _in_digits(self.value, digits)
            if found != limit:
                break
        return f"{self.check} is {limit}, found {found}"


class TableNote(Record):
    """A table that was to follow the pointer to this run, and what came of it."""

    kind: Literal["iceberg", "delta"]
    name: str
    """NAMESPACE.NAME; of a Delta table the output that it lies in."""
    catalog: str = ""
    """Where pyiceberg finds the table."""
    version: int | None = None
    """Of the table when it held the files of this run: snapshot (Iceberg), version (Delta)."""
    error: str = ""
    """Why it does not hold them, if the last attempt failed."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells tables apart."""
        return self.kind, self.catalog, self.name


class Manifest(Sums):
    """What a run is, and what became of it. What a later version has written is kept."""

    model_config = ConfigDict(extra="allow")

    format: int = 1
    run_id: str
    run_date: Day
    run_uri: str = ""
    """The folder in which the manifest lies, wherever it was moved."""
    output_uri: str = ""
    input_uri: str = ""
    fingerprint: str = ""
    code_version: str = ""
    bundle: BundleName
    outcome: Outcome
    started_at: Moment
    finished_at: Moment
    elapsed_s: float
    """Of the last start alone, as rows_per_s."""
    rows_per_s: float
    cost: Cost | None = None
    """Of the last start that scored; None without a price."""
    quarantined: list[QuarantinedFile] = Field([])
    empty_files: list[str] = Field([])
    ignored: Ignored | None = None
    duplicates: Duplicates | None
    """None until the parts were verified."""
    gate: list[Check]
    forced: str | None = None
    """Why the run was published whatever the gate said."""
    reuse: ReusedRun | None = None
    """The run whose results were planned to be taken over."""
    reuse_stop: ReuseStop | None = None
    """Why everything was scored all the same."""
    index: IndexName | None = None
    """Of the texts of this run, for later ones."""
    estimates: NightEstimates | None = None
    """What can be said without labels; None in a run of an older version."""
    refusal_reason: str = ""
    rollback_reason: str = ""
    files: list[DataFile] = Field([])
    """What readers take, in the order of the plan, once it is verified: sealed files, or of a run
    of version 0.4.0 and before its parts."""
    pointers: list[RelativePath] = Field([])
    """Those that named the run when its outcome was noted, relative to output_uri."""
    tables: list[TableNote] = Field([])
    """Tables that were to follow a pointer to this run."""

    @model_validator(mode="before")
    @classmethod
    def _read_formats_1_and_2(cls, content: object) -> object:
        if isinstance(content, dict) and "shards" in content:
            others = {name: content[name] for name in content.keys() - {"shards"}}
            shards = SCORED_SHARDS.validate_python(content["shards"])
            files = []
            for shard in shards:
                path, sha256 = older_part_name(shard.shard_id), shard.part_sha256
                files.append(DataFile(path=path, sha256=sha256, rows=shard.rows_scored))
            return {**others, **dict(sum_shards(shards)), "files": files}
        return content

    @classmethod
    def of(
        cls,
        plan: Plan,
        receipts: Mapping[str, Receipt],
        *,
        outcome: Outcome,
        started_at: str,
        quarantined: Mapping[str, QuarantinedShard] | None = None,
        duplicates: Duplicates | None = None,
        files: Sequence[DataFile] = (),
    ) -> "Manifest":
        """Add the receipts of a run up; it ends now, and has begun at an ISO time."""
        tally = Tally(plan, receipts)
        failed = {} if quarantined is None else quarantined
        sums = tally.sums(failed[name] for name in failed if name not in receipts)
        # not by finished_at, a whole second; a clock may have been set back
        passed = datetime.now(UTC) - datetime.fromisoformat(started_at)
        elapsed_s = max(passed.total_seconds(), 0.0)
        rows = tally.rows_since(started_at)
        return cls(
            **dict(sums),
            format=FORMAT,
            run_id=plan.run_id,
            run_date=plan.run_date,
            run_uri=plan.run_uri,
            output_uri=plan.output_uri,
            input_uri=plan.input_uri,
            fingerprint=plan.fingerprint,
            code_version=__version__,
            bundle=plan.bundle,
            outcome=outcome,
            started_at=started_at,
            finished_at=utc_now(),
            elapsed_s=elapsed_s,
            rows_per_s=rows / elapsed_s if elapsed_s else 0.0,
            quarantined=plan.quarantined,
            empty_files=plan.empty_files,
            ignored=plan.ignored,
            duplicates=duplicates,
            files=list(files),
            gate=[],
            reuse=plan.reuse,
        )

    @property
    def is_whole(self) -> bool:
        """Whether all shards are scored or quarantined."""
        return self.outcome in WHOLE


MANIFEST = TypeAdapter(Manifest)


def manifest_uri(run_uri: str) -> str:
    """Return where the manifest of a run lies."""
    return storage.join(run_uri, "_run", MANIFEST_FILE)


def report_uri(run_uri: str) -> str:
    """Return where the report of a run lies."""
    return storage.join(run_uri, "_run", "report.html")


def read_manifest(run_uri: str) -> Manifest:
    """Read the manifest of a run folder, which may have been moved; InputError if there is none."""
    return _parse(run_uri, storage.read_bytes(manifest_uri(run_uri)))


def find_manifest(run_uri: str) -> Manifest | None:
    """Return the manifest as an earlier start left it, or None if none got that far."""
    return manifest_and_version(run_uri)[0]


def manifest_and_version(run_uri: str) -> tuple[Manifest | None, str]:
    """Return the manifest, or None, and its version for `swap_manifest`."""
    data, version = storage.read_versioned(manifest_uri(run_uri))
    return (None if data is None else _parse(run_uri, data)), version


def _parse(run_uri: str, data: bytes) -> Manifest:
    manifest = parse(manifest_uri(run_uri), data, MANIFEST)
    run_uri = storage.absolute(run_uri)
    here = {"run_uri": run_uri, "output_uri": run_uri.rsplit("/", 2)[0]}
    return manifest.model_copy(update=here)


def swap_manifest(manifest: Manifest, version: str) -> bool:
    """Put a manifest if there still is the one of this version; say whether it now is in place."""
    uri, data = manifest_uri(manifest.run_uri), storage.to_json(manifest)
    return storage.swap_bytes(uri, data, version) or storage.read_optional(uri) == data


def until_swapped(attempt: Callable[[], T | None], busy: str) -> T:
    """Attempt to swap an object until that returns something; PartialRunError after some attempts.

    An attempt looks at what is there, decides, and returns None if another process was faster.
    """
    for _ in range(SWAP_ATTEMPTS):
        done = attempt()
        if done is not None:
            return done
    raise PartialRunError(busy)


def revise_manifest(
    run_uri: str,
    change: Callable[[Manifest | None], Manifest | None],
    claim: Callable[[], object] = lambda: None,
) -> Manifest | None:
    """Put what `change` makes of the manifest, unless that is None; return the one in place.

    `change` gets the manifest as it is then, again when another process was faster: nothing that
    another one noted is overwritten unseen. `claim` raises where this process may not write any
    more.
    """

    def attempt() -> tuple[Manifest | None] | None:
        found, version = manifest_and_version(run_uri)
        claim()  # after the look: what a newer start writes is another version
        manifest = change(found)
        if manifest is None or manifest == found:
            return (found,)
        return (manifest,) if swap_manifest(manifest, version) else None

    busy = f"{manifest_uri(run_uri)}: other processes keep writing this file. Start again"
    return until_swapped(attempt, busy)[0]


def _in_digits(number: float, digits: int) -> str:
    """Return a number in so many digits, a whole one in all of its own."""
    is_whole = float(number).is_integer()
    return f"{number:.0f}" if is_whole else f"{number:.{digits}g}"

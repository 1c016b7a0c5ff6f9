"""Receipts. A shard is done when its receipt is there; the receipt is put after the part.

A receipt counts rows in, scored and rejected, and carries an order-free digest of ad ids in and
out; the manifest adds them up (manifest.py). A shard that cannot be scored has a quarantine record
with the reason instead, until it has a receipt.
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import pyarrow as pa
from pydantic import TypeAdapter, field_validator, model_validator

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.runs.part import ids_digest
from rubert_ood.runs.part_counts import PartCounts, part_counts, reason_counts
from rubert_ood.runs.plan import Plan, Shard, ShardId
from rubert_ood.runs.profile import TOKEN_EDGES, ShardProfile
from rubert_ood.runs.receipt_batches import (
    FEWEST,
    NO_BATCH,
    SUFFIX,
    Batches,
    Copied,
    find_copies,
    log_uri,
)
from rubert_ood.runs.record import RESTORE, Count, Moment, Record, parse
from rubert_ood.runs.reuse import ReuseCounts, find_stop
from rubert_ood.storage.listing import list_below

T = TypeVar("T")
FORMAT = 2
"""1, of version 0.3.0 and before, has what is in `profile` at the top level."""
STORAGE_THREADS = 16
KEPT = 10_000
"""Receipts that no batch has and that are kept in memory: about 150 MB."""
RECEIPTS, QUARANTINE = "receipts", "quarantine"
NO_REUSE = ReuseCounts()
RECORD_NAME = re.compile(r"[^._].*\.json")


class Settled(Record):
    """What the records of a shard have in common."""

    shard_id: ShardId
    fingerprint: str
    """Of the run; records of another one do not count."""


class QuarantinedShard(Record):
    """A shard that cannot be scored, and why."""

    shard_id: ShardId
    uri: str
    start: Count
    stop: Count
    rows_in: Count
    reason: str


class QuarantineRecord(QuarantinedShard, Settled):
    """A quarantined shard as it stands in the run folder."""


class Receipt(PartCounts, Settled):
    """What a shard became."""

    format: int = 1
    uri: str
    start: Count
    stop: Count
    rows_in: Count
    rows_rejected: Count
    rejected_reasons: dict[str, Count]
    ids_in: Count
    ids_rejected: Count
    profile: ShardProfile
    reuse: ReuseCounts = NO_REUSE
    part_sha256: str
    part_bytes: Count = 0
    seconds: float
    """From the first stage to the last, waits between them included."""
    scorer_busy_s: float
    scorer_idle_s: float
    finished_at: Moment

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, content: object) -> object:
        if isinstance(content, dict) and "profile" not in content:
            names = ShardProfile.model_fields.keys() & content.keys()
            return {**content, "profile": {name: content[name] for name in names}}
        return content

    @field_validator("profile")
    @classmethod
    def _check_bins(cls, profile: ShardProfile) -> ShardProfile:
        if len(profile.token_histogram) not in (0, len(TOKEN_EDGES)):
            raise ValueError(f"token_histogram does not have {len(TOKEN_EDGES)} bins")
        return profile


@dataclass(frozen=True)
class Written:
    """A part: its rows, the bytes of its file, and where its texts have their results from."""

    table: pa.Table
    data: bytes
    reuse: ReuseCounts = NO_REUSE


@dataclass(frozen=True)
class Timing:
    """How long a shard took."""

    started: float
    """Seconds since the epoch."""
    busy_s: float
    """How long the network ran on it."""
    idle_s: float
    """How long the network had stood still before, since the shard before."""


def make_receipt(
    shard: Shard,
    written: Written,
    rejected: pa.Table,
    *,
    ids_in: int,
    fingerprint: str,
    timing: Timing,
    profile: ShardProfile,
) -> Receipt:
    """Count what a shard became; `fingerprint` is that of the run, ids_in the digest of all ids."""
    finished = time.time()
    counts = part_counts(written.table)
    return Receipt(
        format=FORMAT,
        shard_id=shard.shard_id,
        fingerprint=fingerprint,
        uri=shard.uri,
        start=shard.start,
        stop=shard.stop,
        rows_in=shard.num_rows,
        rows_rejected=rejected.num_rows,
        rejected_reasons=reason_counts(rejected),
        ids_in=ids_in,
        ids_rejected=ids_digest(rejected["ad_id"]),
        **counts.model_dump(),
        profile=profile,
        reuse=written.reuse,
        part_sha256=hashlib.sha256(written.data).hexdigest(),
        part_bytes=len(written.data),
        seconds=round(finished - timing.started, 3),
        scorer_busy_s=round(timing.busy_s, 3),
        scorer_idle_s=round(timing.idle_s, 3),
        finished_at=datetime.fromtimestamp(finished, UTC).isoformat(
            timespec="milliseconds"
        ),
    )


def receipt_uri(run_uri: str, shard_id: str) -> str:
    """Return where the receipt of a shard lies."""
    return storage.join(run_uri, "_run", RECEIPTS, f"{shard_id}.json")


def put_quarantine(plan: Plan, shard: Shard, reason: str) -> None:
    """Quarantine a shard: note why it cannot be scored."""
    record = QuarantineRecord(
        shard_id=shard.shard_id,
        fingerprint=plan.fingerprint,
        uri=shard.uri,
        start=shard.start,
        stop=shard.stop,
        rows_in=shard.num_rows,
        reason=reason,
    )
    storage.put_json(
        storage.join(plan.run_uri, "_run", QUARANTINE, f"{shard.shard_id}.json"), record
    )


RECEIPT, QUARANTINED = TypeAdapter(Receipt), TypeAdapter(QuarantinedShard)
SETTLED = TypeAdapter(Settled)
Fill = Callable[[Mapping[str, str], Mapping[str, str]], bool]
"""Takes the version of each receipt, and the batch of each that was copied; says whether it wrote
batches."""


Receipts = Copied[Receipt]
"""By shard id; those that were copied are read when they are asked for."""


def read_receipts(run_uri: str, fingerprint: str, fill: Fill | None = None) -> Receipts:
    """Find the receipts of this fingerprint; there may be none yet.

    Once reuse has been stopped, those of shards that took results over do not count.
    """
    versions = _versions(run_uri, RECEIPTS)
    batch_of = _find_batches(run_uri, fingerprint, versions)
    if fill is not None and fill(versions, batch_of):
        batch_of = _find_batches(run_uri, fingerprint, versions)
    alone = sorted(versions.keys() - batch_of.keys())
    others = dict[str, Receipt]()
    for start in range(0, len(alone), KEPT):
        names = alone[start : start + KEPT]
        some = _read_all(run_uri, RECEIPTS, names, RECEIPT, fingerprint)
        if start == 0:
            others = some
        else:  # too many for the memory: they are read again when they are asked for
            batch_of |= dict.fromkeys(some, NO_BATCH)

    def read(shard_id: str, data: bytes | None) -> Receipt:
        uri = receipt_uri(run_uri, shard_id)
        return parse(uri, storage.read_bytes(uri) if data is None else data, RECEIPT)

    found = Copied(Batches(fingerprint, versions, batch_of), others, read)
    if find_stop(run_uri) is None:
        return found
    reused = {name for name in found if found[name].reuse.texts_reused}
    return found.without(reused)


def read_quarantine(run_uri: str, fingerprint: str) -> dict[str, QuarantinedShard]:
    """Read the quarantined shards by id; a receipt of the same shard annuls its record."""
    names = sorted(_versions(run_uri, QUARANTINE))
    return _read_all(run_uri, QUARANTINE, names, QUARANTINED, fingerprint)


def find_receipt(run_uri: str, shard_id: str, fingerprint: str) -> Receipt | None:
    """Return the receipt of one shard, or None while it has none that counts."""
    uri = receipt_uri(run_uri, shard_id)
    data = storage.read_optional(uri)
    found = None if data is None else _parse(uri, data, RECEIPT, fingerprint)
    if found is None or not found.reuse.texts_reused:
        return found
    return None if find_stop(run_uri) is not None else found


def is_receipt_of(uri: str, data: bytes, fingerprint: str) -> bool:
    """Say whether a record is of this fingerprint; InputError when it is damaged."""
    settled = parse(uri, data, SETTLED)
    if not uri.endswith(f"/{settled.shard_id}.json"):
        raise InputError(
            f"{uri}: the file is damaged (it belongs to shard"
            f" {settled.shard_id}). {RESTORE}"
        )
    return settled.fingerprint == fingerprint


def _versions(run_uri: str, folder: str) -> dict[str, str]:
    """List the records of a folder: the version of each, by shard id."""
    found = list_below(storage.join(run_uri, "_run", folder), missing_ok=True).files
    versions = {}
    for file in found:
        name = file.uri.rpartition("/")[2]
        if RECORD_NAME.fullmatch(name):
            versions[name.removesuffix(".json")] = file.version
    return versions


def _find_batches(
    run_uri: str, fingerprint: str, versions: Mapping[str, str]
) -> dict[str, str]:
    if len(versions) < FEWEST:  # so few were never copied
        return {}
    found = list_below(log_uri(run_uri), missing_ok=True).files
    uris = [file.uri for file in found if file.uri.endswith(SUFFIX)]
    return find_copies(uris, fingerprint, versions)


def _read_all(
    run_uri: str,
    folder: str,
    names: Sequence[str],
    schema: TypeAdapter[T],
    fingerprint: str,
) -> dict[str, T]:
    def read(name: str) -> T | None:
        uri = storage.join(run_uri, "_run", folder, f"{name}.json")
        return _parse(uri, storage.read_bytes(uri), schema, fingerprint)

    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        records = dict(zip(names, pool.map(read, names), strict=True))
    return {name: record for name, record in records.items() if record is not None}


def _parse(uri: str, data: bytes, schema: TypeAdapter[T], fingerprint: str) -> T | None:
    """Check a record; None when it is of another fingerprint, whose schema may be another."""
    return parse(uri, data, schema) if is_receipt_of(uri, data, fingerprint) else None

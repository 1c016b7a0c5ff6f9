"""Receipts. A shard is done when its receipt is there; the receipt is put after the part.

A receipt counts rows in, scored and rejected, and carries an order-free digest of ad ids in and
out; the manifest adds them up (manifest.py). A shard that cannot be scored has a quarantine record
with the reason instead, until it has a receipt.
"""

import hashlib
import re
import time
from collections.abc import Callable
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
from rubert_ood.runs.record import RESTORE, Count, Moment, Record, parse
from rubert_ood.storage.listing import FileInfo, list_below

T = TypeVar("T")
FORMAT = 2
"""1, of version 0.3.0 and before, has what is in `profile` at the top level."""
STORAGE_THREADS = 16
RECEIPTS, QUARANTINE = "receipts", "quarantine"
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
            raise ValueError(f"token_histogram has not {len(TOKEN_EDGES)} bins")
        return profile


@dataclass(frozen=True)
class Written:
    """A part: its rows, and the bytes of its file."""

    table: pa.Table
    data: bytes


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


def read_receipts(run_uri: str, fingerprint: str) -> dict[str, Receipt]:
    """Read the receipts of this fingerprint by shard id; there may be none yet."""
    return _read_records(
        run_uri, RECEIPTS, lambda file: _read(file, RECEIPT, fingerprint)
    )


def read_quarantine(run_uri: str, fingerprint: str) -> dict[str, QuarantinedShard]:
    """Read the quarantined shards by id; a receipt of the same shard annuls its record."""
    return _read_records(
        run_uri, QUARANTINE, lambda file: _read(file, QUARANTINED, fingerprint)
    )


def find_receipt(run_uri: str, shard_id: str, fingerprint: str) -> Receipt | None:
    """Return the receipt of one shard, or None while it has none of this fingerprint."""
    uri = receipt_uri(run_uri, shard_id)
    data = storage.read_optional(uri)
    return None if data is None else _parse(uri, data, RECEIPT, fingerprint)


def _read_records(
    run_uri: str, folder: str, read: Callable[[FileInfo], T | None]
) -> dict[str, T]:
    found = list_below(storage.join(run_uri, "_run", folder), missing_ok=True).files
    names = {file.uri: file.uri.rpartition("/")[2] for file in found}
    files = [file for file in found if RECORD_NAME.fullmatch(names[file.uri])]
    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        records = list(pool.map(read, files))
    return {
        names[file.uri].removesuffix(".json"): record
        for file, record in zip(files, records, strict=True)
        if record is not None
    }


def _read(file: FileInfo, schema: TypeAdapter[T], fingerprint: str) -> T | None:
    return _parse(file.uri, storage.read_bytes(file.uri), schema, fingerprint)


def _parse(uri: str, data: bytes, schema: TypeAdapter[T], fingerprint: str) -> T | None:
    """Check a record; None when it is of another fingerprint, whose schema may be another."""
    settled = parse(uri, data, SETTLED)
    if not uri.endswith(f"/{settled.shard_id}.json"):
        raise InputError(f"{uri}: damaged, it is of shard {settled.shard_id}; {RESTORE}")
    return parse(uri, data, schema) if settled.fingerprint == fingerprint else None

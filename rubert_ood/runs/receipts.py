"""Receipts. A shard is done when its receipt is there; the receipt is put after the part.

A receipt counts rows in, scored and rejected, and carries an order-free digest of ad ids in and
out; the manifest adds them up (manifest.py). A shard that cannot be scored has a quarantine record
with the reason instead, until it has a receipt.
"""

import hashlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, TypeAdapter

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.runs.part import STATUS_EMPTY, ids_digest
from rubert_ood.runs.plan import Plan, Shard, ShardId
from rubert_ood.runs.record import (
    RESTORE,
    Count,
    Moment,
    Record,
    parse,
    parse_dict,
)
from rubert_ood.storage.listing import FileInfo, list_below

STORAGE_THREADS = 16
CONFIDENCE_BINS = 20
TOKEN_EDGES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Lower ends of the bins of text length, two to an octave; 0 tokens: the ad has no text."""
RECEIPTS, QUARANTINE = "receipts", "quarantine"
RECORD_NAME = re.compile(r"[^._].*\.json")


class Settled(Record):
    """What the records of a shard have in common."""

    shard_id: ShardId
    fingerprint: str
    """Of the run; records of another one do not count."""


class Quarantined(Settled):
    uri: str
    start: Count
    stop: Count
    rows_in: Count
    reason: str


class Cities(Record):
    rows: Count
    rows_unseen: Count
    unseen: dict[str, Count]


class FarAd(Record):
    ad_id: str
    text_key: str
    label: str
    confidence: float
    is_ood: bool
    ood_distance: float
    ood_z: float
    ood_p: float
    text: str | None
    uri: str


class Receipt(Settled):
    """What a receipt must hold; `make_receipt` says what it means."""

    uri: str
    start: Count
    stop: Count
    rows_in: Count
    rows_rejected: Count
    rejected_reasons: dict[str, Count]
    ids_in: Count
    ids_rejected: Count
    ids_out: Count
    rows_scored: Count
    rows_empty: Count
    rows_ood: Count
    rows_cut: Count
    classes: dict[str, Count]
    confidence_histogram: list[Count] = Field(
        min_length=CONFIDENCE_BINS, max_length=CONFIDENCE_BINS
    )
    unique_texts: Count
    tokens: Count
    unique_tokens: Count
    part_sha256: str
    seconds: float
    scorer_busy_s: float
    scorer_idle_s: float
    finished_at: Moment
    token_histogram: list[Count] = Field(
        [], min_length=len(TOKEN_EDGES), max_length=len(TOKEN_EDGES)
    )
    padded_tokens: Count = 0
    cities: Cities | None = None
    top_ood: list[FarAd] = Field([])


SETTLED = TypeAdapter(Settled)
SCHEMAS: dict[str, TypeAdapter[Any]] = {
    RECEIPTS: TypeAdapter(Receipt),
    QUARANTINE: TypeAdapter(Quarantined),
}


def make_receipt(
    shard: Shard,
    part: pa.Table,
    errors: pa.Table,
    *,
    part_data: bytes,
    ids_in: int,
    fingerprint: str,
    started: float,
    busy_s: float,
    idle_s: float,
    padded_tokens: int,
    cities: dict[str, Any] | None,
    top_ood: list[dict[str, Any]],
) -> dict[str, Any]:
    """Count what a shard became.

    part_data is the part as written; `started` is in seconds since the epoch; busy_s and idle_s:
    how long the scoring actor worked on the shard, and how long it had waited for it;
    padded_tokens: what it computed beside the tokens; cities and top_ood: what the report says of
    cities and of the farthest ads, which the part alone does not tell.
    """
    finished = time.time()
    return {
        "shard_id": shard.shard_id,
        "fingerprint": fingerprint,
        "uri": shard.uri,
        "start": shard.start,
        "stop": shard.stop,
        "rows_in": shard.num_rows,
        "rows_rejected": errors.num_rows,
        "rejected_reasons": reason_counts(errors),
        "ids_in": ids_in,
        "ids_rejected": ids_digest(errors["ad_id"]),
        "cities": cities,
        "top_ood": top_ood,
        "padded_tokens": padded_tokens,
        **part_counts(part),
        "part_sha256": hashlib.sha256(part_data).hexdigest(),
        "seconds": round(finished - started, 3),
        "scorer_busy_s": round(busy_s, 3),
        "scorer_idle_s": round(idle_s, 3),
        "finished_at": datetime.fromtimestamp(finished, UTC).isoformat(timespec="milliseconds"),
    }


def part_counts(part: pa.Table) -> dict[str, Any]:
    """Count what can be counted again from the part alone."""
    confidence = part["confidence"].drop_null().to_numpy()
    tokens = part["num_tokens"].to_numpy()
    _, first = np.unique(part["text_key"].to_numpy(), return_index=True)
    return {
        "rows_scored": part.num_rows,
        "rows_empty": pc.sum(pc.equal(part["status"], STATUS_EMPTY)).as_py() or 0,
        "rows_ood": pc.sum(part["is_ood"]).as_py() or 0,
        "rows_cut": pc.sum(part["is_cut"]).as_py() or 0,
        "classes": _counts(part["label"]),
        "confidence_histogram": np.histogram(confidence, CONFIDENCE_BINS, (0.0, 1.0))[0].tolist(),
        "unique_texts": len(first),
        "tokens": int(tokens.sum()),
        "unique_tokens": int(tokens[first].sum()),
        "token_histogram": token_histogram(tokens),
        "ids_out": ids_digest(part["ad_id"]),
    }


def token_histogram(num_tokens_N: np.ndarray) -> list[int]:
    """Count ads by length: TOKEN_EDGES[i] <= tokens < TOKEN_EDGES[i + 1], the last bin without
    end."""
    bins_N = np.searchsorted(TOKEN_EDGES, num_tokens_N, side="right") - 1
    return np.bincount(bins_N, minlength=len(TOKEN_EDGES)).tolist()


PART_COLUMNS = [
    "ad_id",
    "label",
    "confidence",
    "is_ood",
    "status",
    "num_tokens",
    "is_cut",
    "text_key",
]
"""What part_counts reads."""


def reason_counts(errors: pa.Table) -> dict[str, int]:
    return _counts(errors["reason"])


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}


def receipt_uri(run_uri: str, shard_id: str) -> str:
    return storage.join(run_uri, "_run", RECEIPTS, f"{shard_id}.json")


def put_quarantine(plan: Plan, shard: Shard, reason: str) -> None:
    """Set a shard aside: note why it cannot be scored."""
    record = {
        "shard_id": shard.shard_id,
        "fingerprint": plan.fingerprint,
        "uri": shard.uri,
        "start": shard.start,
    }
    record |= {"stop": shard.stop, "rows_in": shard.num_rows, "reason": reason}
    uri = storage.join(plan.run_uri, "_run", QUARANTINE, f"{shard.shard_id}.json")
    storage.put_bytes(uri, json.dumps(record, ensure_ascii=False).encode())


def read_receipts(run_uri: str, fingerprint: str) -> dict[str, dict[str, Any]]:
    """Read the receipts of this fingerprint by shard id; there may be none yet."""
    return _read_records(run_uri, RECEIPTS, fingerprint)


def read_quarantine(run_uri: str, fingerprint: str) -> dict[str, dict[str, Any]]:
    """Read the records of the shards that were set aside, by shard id; a receipt of the same shard
    annuls one."""
    return _read_records(run_uri, QUARANTINE, fingerprint)


def find_receipt(run_uri: str, shard_id: str, fingerprint: str) -> dict[str, Any] | None:
    """Return the receipt of one shard, or None while it has none of this fingerprint."""
    uri = receipt_uri(run_uri, shard_id)
    data = storage.read_optional(uri)
    return None if data is None else _record(uri, data, RECEIPTS, fingerprint)


def _read_records(run_uri: str, folder: str, fingerprint: str) -> dict[str, dict[str, Any]]:
    found = list_below(storage.join(run_uri, "_run", folder), missing_ok=True).files
    files = [file for file in found if RECORD_NAME.fullmatch(file.uri.rpartition("/")[2])]

    def read(file: FileInfo) -> dict[str, Any] | None:
        return _record(file.uri, storage.read_bytes(file.uri), folder, fingerprint)

    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        records = list(pool.map(read, files))
    return {record["shard_id"]: record for record in records if record is not None}


def _record(uri: str, data: bytes, folder: str, fingerprint: str) -> dict[str, Any] | None:
    """Check a record; None when it is of another fingerprint, whose schema may be another."""
    settled = parse(uri, data, SETTLED)
    if not uri.endswith(f"/{settled.shard_id}.json"):
        raise InputError(f"{uri}: damaged, it is of shard {settled.shard_id}; {RESTORE}")
    if settled.fingerprint != fingerprint:
        return None
    return parse_dict(uri, data, SCHEMAS[folder])

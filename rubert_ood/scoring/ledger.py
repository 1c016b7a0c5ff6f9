"""Receipts, and what they prove. A shard is done when its receipt is there; the receipt is put after the part.

A receipt counts rows in, scored and rejected, and carries an order-free digest of ad ids in and out; the manifest adds
them up; `verify_run` recomputes them from the parts.
"""

import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubert_ood import __version__, storage
from rubert_ood.errors import InputError, PartialRunError, VerificationError
from rubert_ood.ood.decision import OTHER
from rubert_ood.progress import Progress
from rubert_ood.scoring.plan import Plan, Shard
from rubert_ood.scoring.records import DIGEST_MODULUS, STATUS_EMPTY, ids_digest

STORAGE_THREADS = 16
CONFIDENCE_BINS = 20
MANIFEST_FILE = "manifest.json"
COUNTED = (
    "rows_in",
    "rows_scored",
    "rows_rejected",
    "rows_empty",
    "rows_ood",
    "unique_texts",
    "tokens",
    "unique_tokens",
)
"""What the manifest adds up over the receipts."""


def make_receipt(
    shard: Shard, part: pa.Table, errors: pa.Table, *, part_data: bytes, ids_in: int, fingerprint: str, started: float
) -> dict[str, Any]:
    """Count what a shard became. part_data is the part as written; `started` is in seconds since the epoch."""
    finished = time.time()
    return {
        "shard_id": shard.shard_id,
        "fingerprint": fingerprint,
        "uri": shard.uri,
        "start": shard.start,
        "stop": shard.stop,
        "rows_in": shard.num_rows,
        "rows_rejected": errors.num_rows,
        "rejected_reasons": _counts(errors["reason"]),
        "ids_in": ids_in,
        "ids_rejected": ids_digest(errors["ad_id"]),
        **part_counts(part),
        "part_sha256": hashlib.sha256(part_data).hexdigest(),
        "seconds": round(finished - started, 3),
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
        "classes": _counts(part["label"]),
        "confidence_histogram": np.histogram(confidence, CONFIDENCE_BINS, (0.0, 1.0))[0].tolist(),
        "unique_texts": len(first),
        "tokens": int(tokens.sum()),
        "unique_tokens": int(tokens[first].sum()),
        "ids_out": ids_digest(part["ad_id"]),
    }


PART_COLUMNS = ["ad_id", "label", "confidence", "is_ood", "status", "num_tokens", "text_key"]
"""What part_counts reads."""


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}


def put_receipt(run_uri: str, receipt: dict[str, Any]) -> None:
    name = f"{receipt['shard_id']}.json"
    storage.put_bytes(storage.join(run_uri, "_run", "receipts", name), json.dumps(receipt, ensure_ascii=False).encode())


def read_receipts(run_uri: str, fingerprint: str) -> dict[str, dict[str, Any]]:
    """Read the receipts of this fingerprint by shard id; there may be none yet."""
    folder = storage.join(run_uri, "_run", "receipts")
    try:
        files = storage.list_files(folder, (".json",))
    except InputError:
        return {}
    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        receipts = list(pool.map(storage.read_json, [file.uri for file in files]))
    return {receipt["shard_id"]: receipt for receipt in receipts if receipt["fingerprint"] == fingerprint}


def make_manifest(
    plan: Plan, receipts: Mapping[str, dict[str, Any]], *, outcome: str, started_at: str
) -> dict[str, Any]:
    """Add the receipts of a run up. started_at is an ISO time; elapsed_s covers this start only."""
    done = [receipts[shard.shard_id] for shard in plan.shards if shard.shard_id in receipts]
    counts = {name: sum(receipt[name] for receipt in done) for name in COUNTED}
    classes = _add(receipt["classes"] for receipt in done)
    now = datetime.now(UTC)
    elapsed_s = (now - datetime.fromisoformat(started_at)).total_seconds()
    rows_now = sum(receipt["rows_in"] for receipt in done if receipt["finished_at"] >= started_at)
    return {
        "run_id": plan.run_id,
        "run_date": plan.run_date,
        "run_uri": plan.run_uri,
        "fingerprint": plan.fingerprint,
        "code_version": __version__,
        "outcome": outcome,
        "started_at": started_at,
        "finished_at": now.isoformat(timespec="seconds"),
        "elapsed_s": elapsed_s,
        "rows_per_s": rows_now / max(elapsed_s, 1e-9),
        "bundle": plan.bundle,
        "input_uri": plan.input_uri,
        "output_uri": plan.output_uri,
        "counts": {**counts, "rows_other": classes.get(OTHER, 0), "rows_planned": plan.num_rows},
        "ids_in": sum(receipt["ids_in"] for receipt in done) % DIGEST_MODULUS,
        "ids_out": sum(receipt["ids_out"] for receipt in done) % DIGEST_MODULUS,
        "ids_rejected": sum(receipt["ids_rejected"] for receipt in done) % DIGEST_MODULUS,
        "classes": classes,
        "rejected_reasons": _add(receipt["rejected_reasons"] for receipt in done),
        "quarantined": plan.quarantined,
        "confidence_histogram": np.sum([receipt["confidence_histogram"] for receipt in done], axis=0)
        .astype(int)
        .tolist()
        if done
        else [0] * CONFIDENCE_BINS,
        "shards": [
            {name: receipt[name] for name in ("shard_id", "uri", "rows_in", "seconds", "finished_at")}
            for receipt in done
        ],
        "gate": [],
    }


def _add(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


def manifest_uri(run_uri: str) -> str:
    return storage.join(run_uri, "_run", MANIFEST_FILE)


def put_manifest(manifest: dict[str, Any]) -> None:
    data = json.dumps(manifest, ensure_ascii=False, indent=1, allow_nan=False).encode()
    storage.put_bytes(manifest_uri(manifest["run_uri"]), data)


def read_manifest(run_uri: str) -> dict[str, Any]:
    return storage.read_json(manifest_uri(run_uri))


def verify_run(plan: Plan) -> dict[str, dict[str, Any]]:
    """Check parts against receipts and receipts against the plan; return the receipts.

    Raises PartialRunError when shards are missing, and VerificationError that names the part which is missing, foreign
    or differs from its receipt.
    """
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    missing = [shard for shard in plan.shards if shard.shard_id not in receipts]
    if missing:
        raise PartialRunError(f"{plan.run_uri}: {len(missing)} of {len(plan.shards)} shards are not scored; run again")
    expected = {shard.part_name for shard in plan.shards}
    present = {file.uri.rpartition("/")[2] for file in storage.list_files(plan.run_uri, (".parquet",))}
    for problem, names in (("is missing", expected - present), ("is no part of this run", present - expected)):
        if names:
            raise VerificationError(f"{plan.run_uri}: {sorted(names)[0]} {problem} ({len(names)} such)")
    progress = Progress("verify", plan.num_rows, "ads")
    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        checks = pool.map(lambda shard: _check_part(plan, shard, receipts[shard.shard_id]), plan.shards)
        for shard, _ in zip(plan.shards, checks, strict=True):
            progress.add(shard.num_rows)
    return receipts


def _check_part(plan: Plan, shard: Shard, receipt: dict[str, Any]) -> None:
    uri = storage.join(plan.run_uri, shard.part_name)
    data = storage.read_bytes(uri)
    metadata, part = _parse_part(uri, data)
    for name, key, expected in (("bundle", "bundle", plan.bundle["fingerprint"]), ("run", "run_id", plan.run_id)):
        if metadata.get(f"rubert_ood.{key}".encode(), b"").decode() != expected:
            raise VerificationError(f"{uri}: written by another {name}")
    for name, value in part_counts(part).items():
        if receipt[name] != value:
            raise VerificationError(f"{uri}: {name} is {value}, its receipt says {receipt[name]}")
    if receipt["rows_in"] != shard.num_rows or receipt["rows_in"] != receipt["rows_scored"] + receipt["rows_rejected"]:
        raise VerificationError(
            f"{uri}: {receipt['rows_in']} rows in, {part.num_rows} scored: rows were lost or doubled"
        )
    if receipt["ids_in"] != (receipt["ids_out"] + receipt["ids_rejected"]) % DIGEST_MODULUS:
        raise VerificationError(f"{uri}: its ad ids are not those of the input")
    if receipt["part_sha256"] != hashlib.sha256(data).hexdigest():
        raise VerificationError(f"{uri}: changed since it was written: its sha256 is not that of its receipt")


def _parse_part(uri: str, data: bytes) -> tuple[dict[bytes, bytes], pa.Table]:
    """Return the metadata of a part, and the columns that are counted."""
    try:
        parquet = pq.ParquetFile(io.BytesIO(data))
        metadata, part = parquet.schema_arrow.metadata or {}, parquet.read(PART_COLUMNS)
    except (pa.ArrowException, OSError) as error:
        raise VerificationError(f"{uri}: not readable as Parquet: {' '.join(str(error).split())}") from error
    lacking = [name for name in PART_COLUMNS if name not in part.schema.names]
    if lacking:
        raise VerificationError(f"{uri}: no column {lacking[0]!r}")
    return metadata, part

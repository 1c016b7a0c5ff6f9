"""Re-read a run and compare it with its receipts and its plan: nothing lost, nothing doubled,
nothing changed."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import __version__, storage
from rubert_ood.errors import InputError, PartialRunError, VerificationError
from rubert_ood.progress import Progress
from rubert_ood.runs.duplicate_ids import IDS_SCHEMA, find_duplicates
from rubert_ood.runs.files import missing_files
from rubert_ood.runs.manifest import manifest_uri
from rubert_ood.runs.part import DIGEST_MODULUS, ERROR_SCHEMA, ids_digest
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.runs.receipts import (
    PART_COLUMNS,
    part_counts,
    read_quarantine,
    read_receipts,
    reason_counts,
)

PARTS_AT_ONCE = 4
"""Reading a part hides behind checking another; more of them would only fill memory."""
COMPARED = (
    "counts",
    "ids_in",
    "ids_out",
    "ids_rejected",
    "classes",
    "rejected_reasons",
    "confidence_histogram",
    "token_histogram",
    "cities",
    "top_ood",
    "quarantined_shards",
    "shards",
)
"""What a manifest must say alike when it is made again from the receipts."""
ADDED_LATER = ("token_histogram",)
"""What receipts of earlier versions do not count."""
TIMINGS = ("seconds", "scorer_busy_s", "scorer_idle_s", "finished_at")
"""What may differ of a shard: two starts at once write the same receipt at two times."""


@dataclass(frozen=True)
class VerifiedRun:
    receipts: dict[str, dict[str, Any]]
    quarantined: dict[str, dict[str, Any]]
    """Records of the shards that were set aside."""
    duplicates: dict[str, Any]
    """Ids that several ads have, as `find_duplicates` returns them."""


class PartMismatchError(VerificationError):
    """Some parts are missing or do not match their receipts; scoring those shards again mends
    it."""

    def __init__(self, message: str, shard_ids: list[str]) -> None:
        super().__init__(message)
        self.shard_ids = shard_ids


def verify_run(plan: Plan) -> VerifiedRun:
    """Check parts and rejected rows against receipts, and receipts against the plan.

    Raises PartialRunError when shards are missing, VerificationError that names an object which
    belongs to no shard, and PartMismatchError that names the first part which is missing, foreign
    or differs from its receipt.
    """
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    quarantined = {
        name: record
        for name, record in read_quarantine(plan.run_uri, plan.fingerprint).items()
        if name not in receipts
    }
    missing = [
        s for s in plan.shards if s.shard_id not in receipts and s.shard_id not in quarantined
    ]
    if missing:
        raise PartialRunError(
            f"{plan.run_uri}: {len(missing)} of {len(plan.shards)} shards are not scored; run again"
        )
    shards = [shard for shard in plan.shards if shard.shard_id in receipts]
    problems = missing_files(plan, receipts)
    ids = _checked_ids(
        plan, [shard for shard in shards if shard.shard_id not in problems], receipts, problems
    )
    duplicates = find_duplicates(ids, [shard.uri for shard in plan.shards])
    if problems:
        raise PartMismatchError(
            f"{next(iter(problems.values()))} ({len(problems)} such)", list(problems)
        )
    return VerifiedRun(receipts, quarantined, duplicates)


def check_manifest(found: Mapping[str, Any], recomputed: Mapping[str, Any]) -> None:
    """Raise VerificationError when a manifest says something else than the receipts."""
    for name in COMPARED:
        if _without_timings(found.get(name)) != _without_timings(recomputed[name]):
            raise VerificationError(
                f"{manifest_uri(recomputed['run_uri'])}: {name} is not what the receipts add up to"
            )


def _without_timings(value: Any) -> Any:
    """Leave the TIMINGS of records out, which only a list of them has."""
    if not isinstance(value, list):
        return value
    return [
        (
            {name: part for name, part in item.items() if name not in TIMINGS}
            if isinstance(item, dict)
            else item
        )
        for item in value
    ]


def _checked_ids(
    plan: Plan,
    shards: list[Shard],
    receipts: Mapping[str, dict[str, Any]],
    problems: dict[str, str],
) -> Iterator[pa.Table]:
    """Check part after part, with few of them in memory; yield their ad ids and collect what is
    wrong in `problems`."""
    numbers = {shard.shard_id: number for number, shard in enumerate(plan.shards)}
    progress = Progress("verify", sum(shard.num_rows for shard in shards), "ads")

    def check(shard: Shard) -> pa.ChunkedArray | str:
        try:
            _check_errors(plan, shard, receipts[shard.shard_id])
            return _check_part(plan, shard, receipts[shard.shard_id])
        except VerificationError as error:
            return str(error)

    with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
        for start in range(0, len(shards), PARTS_AT_ONCE):
            window = shards[start : start + PARTS_AT_ONCE]
            for shard, outcome in zip(window, pool.map(check, window), strict=True):
                progress.add(shard.num_rows)
                if isinstance(outcome, str):
                    problems[shard.shard_id] = outcome
                    continue
                number = pa.repeat(pa.scalar(numbers[shard.shard_id], pa.int64()), len(outcome))
                yield pa.table([outcome, number], schema=IDS_SCHEMA)


def _check_part(plan: Plan, shard: Shard, receipt: dict[str, Any]) -> pa.ChunkedArray:
    """Compare a part with its receipt; return its ad ids."""
    uri = storage.join(plan.run_uri, shard.part_name)
    data = _read(uri)
    metadata, part = _parse(uri, data, PART_COLUMNS)
    for name, key, expected in (
        ("bundle", "bundle", plan.bundle["fingerprint"]),
        ("run", "run_id", plan.run_id),
    ):
        if metadata.get(f"rubert_ood.{key}".encode(), b"").decode() != expected:
            raise VerificationError(f"{uri}: written by another {name}")
    for name, value in part_counts(part).items():
        if name in ADDED_LATER and name not in receipt:
            continue
        if receipt[name] != value:
            raise VerificationError(f"{uri}: {name} is {value}, its receipt says {receipt[name]}")
    if (
        receipt["rows_in"] != shard.num_rows
        or receipt["rows_in"] != receipt["rows_scored"] + receipt["rows_rejected"]
    ):
        raise VerificationError(
            f"{uri}: {receipt['rows_in']} rows in, {part.num_rows} scored: rows were lost or"
            " doubled"
        )
    if receipt["ids_in"] != (receipt["ids_out"] + receipt["ids_rejected"]) % DIGEST_MODULUS:
        raise VerificationError(f"{uri}: its ad ids are not those of the input")
    if receipt["part_sha256"] != hashlib.sha256(data).hexdigest():
        raise VerificationError(
            f"{uri}: changed since it was written: its sha256 is not that of its receipt"
        )
    return part["ad_id"]


def _check_errors(plan: Plan, shard: Shard, receipt: dict[str, Any]) -> None:
    """Compare the rejected rows of a shard with its receipt."""
    if not receipt["rows_rejected"]:
        return
    uri = storage.join(plan.run_uri, shard.rejected_name)
    if not storage.exists(uri):
        uri = storage.join(plan.run_uri, shard.older_rejected_name)
    _, errors = _parse(uri, _read(uri), ERROR_SCHEMA.names)
    found = {"rejected_reasons": reason_counts(errors), "ids_rejected": ids_digest(errors["ad_id"])}
    for name, value in found.items():
        if receipt[name] != value:
            raise VerificationError(f"{uri}: {name} is {value}, its receipt says {receipt[name]}")


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except InputError as error:
        raise VerificationError(str(error)) from error


def _parse(uri: str, data: bytes, columns: list[str]) -> tuple[dict[bytes, bytes], pa.Table]:
    """Return the metadata of a Parquet file and some of its columns."""
    try:
        parquet = pq.ParquetFile(io.BytesIO(data))
        metadata, part = parquet.schema_arrow.metadata or {}, parquet.read(columns)
    except (pa.ArrowException, OSError) as error:
        raise VerificationError(
            f"{uri}: not readable as Parquet: {' '.join(str(error).split())}"
        ) from error
    lacking = [name for name in columns if name not in part.schema.names]
    if lacking:
        written_by = metadata.get(b"rubert_ood.code_version", b"?").decode()
        hint = (
            ""
            if written_by == __version__
            else f"; rubert_ood {written_by} wrote it, verify it with that version"
        )
        raise VerificationError(f"{uri}: no column {lacking[0]!r}{hint}")
    return metadata, part

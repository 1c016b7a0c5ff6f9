"""Re-read a run and compare it with its receipts and its plan: nothing lost, nothing doubled,
nothing changed."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import __version__, storage
from rubert_ood.clock import utc_now
from rubert_ood.errors import InputError, PartialRunError, VerificationError
from rubert_ood.progress import Progress
from rubert_ood.runs.duplicate_ids import IDS_SCHEMA, Duplicates, find_duplicates
from rubert_ood.runs.files import missing_files
from rubert_ood.runs.manifest import Manifest, find_manifest, manifest_uri
from rubert_ood.runs.part import DIGEST_MODULUS, ERROR_SCHEMA, ids_digest
from rubert_ood.runs.part_counts import (
    LATER_COLUMNS,
    PART_COLUMNS,
    PartCounts,
    part_counts,
    reason_counts,
)
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.runs.profile import token_histogram
from rubert_ood.runs.receipts import (
    QuarantinedShard,
    Receipt,
    read_quarantine,
    read_receipts,
)
from rubert_ood.runs.reuse import find_stop

PARTS_AT_ONCE = 4
"""Reading a part hides behind checking another; more of them would only fill memory."""
COMPARED = {
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
    "parts_sha256",
    "shards_sha256",
}
"""What a manifest must say alike when it is made again from the receipts."""


@dataclass(frozen=True)
class VerifiedRun:
    """The records of a run that agree with its files."""

    receipts: Mapping[str, Receipt]
    quarantined: Mapping[str, QuarantinedShard]
    duplicates: Duplicates


class PartMismatchError(VerificationError):
    """Some parts are missing or do not match their receipts; scoring those shards mends it."""

    def __init__(self, message: str, shard_ids: list[str]) -> None:
        """Keep the shards of those parts, beside the message."""
        super().__init__(message)
        self.shard_ids = shard_ids


def verify_run(plan: Plan, receipts: Mapping[str, Receipt] | None = None) -> VerifiedRun:
    """Check parts and rejected rows against receipts, and receipts against the plan.

    `receipts` may be given by who has read them. Raises PartialRunError when shards are missing,
    VerificationError that names an object which belongs to no shard, and PartMismatchError that
    names the first part which is missing, of another run or differs from its receipt.
    """
    if receipts is None:
        receipts = read_receipts(plan.run_uri, plan.fingerprint)
    found = read_quarantine(plan.run_uri, plan.fingerprint)
    quarantined = {name: found[name] for name in sorted(found.keys() - receipts.keys())}
    num_missing = sum(
        shard.shard_id not in receipts and shard.shard_id not in quarantined
        for shard in plan.shards
    )
    if num_missing:
        raise PartialRunError(
            f"{plan.run_uri}: {num_missing} of {len(plan.shards)} shards are not scored; run again"
        )
    problems = missing_files(plan, receipts)
    ids = _checked_ids(plan, receipts, problems)
    duplicates = find_duplicates(ids, [shard.uri for shard in plan.shards])
    if problems:
        first = next(iter(problems.values()))
        raise PartMismatchError(f"{first} ({len(problems)} such)", list(problems))
    return VerifiedRun(receipts, quarantined, duplicates)


def complete_manifest(
    plan: Plan, verified: VerifiedRun, started_at: str = ""
) -> Manifest:
    """Make the manifest of a run whose shards are all settled.

    It keeps its times while its parts are the same: a run that is only verified again is not newer.
    """
    noted = find_manifest(plan.run_uri)
    counted = Manifest.of(
        plan,
        verified.receipts,
        outcome="complete",
        started_at=started_at or (noted.started_at if noted else utc_now()),
        quarantined=verified.quarantined,
        duplicates=verified.duplicates,
    )
    stop = find_stop(plan.run_uri) if plan.reuse else None
    if stop is not None and counted.counts.texts_reused:  # since the receipts were read
        raise PartialRunError(
            f"{plan.run_uri}: reuse was stopped; the same command scores the rest"
        )
    manifest = counted.model_copy(update={"reuse_stop": stop})
    if noted is None or noted.parts_sha256 != manifest.parts_sha256:
        return manifest
    names = ("started_at", "finished_at", "elapsed_s", "rows_per_s", "index", "tables")
    return manifest.model_copy(update={name: getattr(noted, name) for name in names})


def check_manifest(found: Manifest, recomputed: Manifest) -> None:
    """Raise VerificationError when a manifest says something else than the receipts."""
    noted, counted = _comparable(found), _comparable(recomputed)
    for name in counted:
        if noted[name] != counted[name]:
            raise VerificationError(
                f"{manifest_uri(recomputed.run_uri)}:"
                f" {name} is not what the receipts add up to"
            )


def _comparable(manifest: Manifest) -> dict[str, object]:
    return manifest.model_dump(include=COMPARED)


def _checked_ids(
    plan: Plan, receipts: Mapping[str, Receipt], problems: dict[str, str]
) -> Iterator[pa.Table]:
    """Check part after part, with few of them in memory; yield their ad ids and collect what is
    wrong in `problems`."""
    todo = [
        (number, shard)
        for number, shard in enumerate(plan.shards)
        if shard.shard_id in receipts and shard.shard_id not in problems
    ]
    progress = Progress("verify", sum(shard.num_rows for _, shard in todo), "ads")

    def check(item: tuple[Shard, Receipt]) -> pa.ChunkedArray | str:
        shard, receipt = item
        try:
            _check_rejected(plan, shard, receipt)
            return _check_part(plan, shard, receipt)
        except VerificationError as error:
            return str(error)

    with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
        for start in range(0, len(todo), PARTS_AT_ONCE):
            some = todo[start : start + PARTS_AT_ONCE]
            items = [(shard, receipts[shard.shard_id]) for _, shard in some]
            outcomes = pool.map(check, items)
            for (number, shard), outcome in zip(some, outcomes, strict=True):
                progress.add(shard.num_rows)
                if isinstance(outcome, str):
                    problems[shard.shard_id] = outcome
                    continue
                numbers = pa.repeat(pa.scalar(number, pa.int64()), len(outcome))
                yield pa.table([outcome, numbers], schema=IDS_SCHEMA)


def _check_part(plan: Plan, shard: Shard, receipt: Receipt) -> pa.ChunkedArray:
    """Compare a part with its receipt; return its ad ids."""
    uri = storage.join(plan.run_uri, shard.part_name)
    data = _read(uri)
    metadata, part = _parse(uri, data, PART_COLUMNS)
    _check_origin(uri, metadata, "bundle", plan.bundle.fingerprint)
    _check_origin(uri, metadata, "run_id", plan.run_id)
    counts = part_counts(part)
    for name in PartCounts.model_fields:
        _check_value(uri, name, getattr(counts, name), getattr(receipt, name))
    if receipt.profile.token_histogram:  # earlier versions did not count it
        lengths = token_histogram(part["num_tokens"].to_numpy())
        _check_value(uri, "token_histogram", lengths, receipt.profile.token_histogram)
    settled = receipt.rows_scored + receipt.rows_rejected
    if receipt.rows_in != shard.num_rows or receipt.rows_in != settled:
        raise VerificationError(
            f"{uri}: {receipt.rows_in} rows in, {part.num_rows} scored:"
            " rows were lost or doubled"
        )
    if receipt.ids_in != (receipt.ids_out + receipt.ids_rejected) % DIGEST_MODULUS:
        raise VerificationError(f"{uri}: its ad ids are not those of the input")
    if receipt.part_sha256 != hashlib.sha256(data).hexdigest():
        raise VerificationError(
            f"{uri}: changed since it was written: its sha256 is not that of its receipt"
        )
    return part["ad_id"]


def _check_origin(
    uri: str, metadata: Mapping[bytes, bytes], key: str, expected: str
) -> None:
    if metadata.get(f"rubert_ood.{key}".encode(), b"").decode() != expected:
        raise VerificationError(f"{uri}: written by another {key.removesuffix('_id')}")


def _check_rejected(plan: Plan, shard: Shard, receipt: Receipt) -> None:
    """Compare the rejected rows of a shard with its receipt."""
    if not receipt.rows_rejected:
        return
    uri = storage.join(plan.run_uri, shard.rejected_name)
    if not storage.exists(uri):
        uri = storage.join(plan.run_uri, shard.older_rejected_name)
    _, rejected = _parse(uri, _read(uri), ERROR_SCHEMA.names)
    _check_value(
        uri, "rejected_reasons", reason_counts(rejected), receipt.rejected_reasons
    )
    _check_value(uri, "ids_rejected", ids_digest(rejected["ad_id"]), receipt.ids_rejected)


def _check_value(uri: str, name: str, value: object, noted: object) -> None:
    if value != noted:
        raise VerificationError(f"{uri}: {name} is {value}, its receipt says {noted}")


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except InputError as error:
        raise VerificationError(str(error)) from error


def _parse(
    uri: str, data: bytes, columns: list[str]
) -> tuple[dict[bytes, bytes], pa.Table]:
    """Return the metadata of a Parquet file and some of its columns."""
    try:
        parquet = pq.ParquetFile(io.BytesIO(data))
        metadata = parquet.schema_arrow.metadata or {}
        part = parquet.read([*columns, *LATER_COLUMNS])
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise VerificationError(f"{uri}: not readable as Parquet: {reason}") from error
    lacking = [name for name in columns if name not in part.schema.names]
    if not lacking:
        return metadata, part
    written_by = metadata.get(b"rubert_ood.code_version", b"?").decode()
    hint = f"; rubert_ood {written_by} wrote it, verify it with that version"
    raise VerificationError(
        f"{uri}: no column {lacking[0]!r}{'' if written_by == __version__ else hint}"
    )

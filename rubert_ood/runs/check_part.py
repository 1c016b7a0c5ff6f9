"""Re-read the part of a shard, or its rejected rows, and compare them with its receipt."""

import hashlib
import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import __version__, storage
from rubert_ood.errors import InputError, VerificationError
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
from rubert_ood.runs.receipts import Receipt


def check_part(
    plan: Plan, shard: Shard, receipt: Receipt, columns: Sequence[str] | None = None
) -> pa.Table:
    """Compare a part with its receipt; return some of its columns, or all.

    `columns` has at least COUNTED_COLUMNS. Raises VerificationError that names the part.
    """
    uri = plan.part_uri(shard)
    data = read_object(uri)
    parquet = open_parquet(uri, data)
    part = read_columns(uri, parquet, columns)
    check_origin(uri, parquet, plan)
    counts = part_counts(part)
    for name in PartCounts.model_fields:
        check_value(uri, name, getattr(counts, name), getattr(receipt, name))
    if receipt.profile.token_histogram:  # earlier versions did not count it
        lengths = token_histogram(part["num_tokens"].to_numpy())
        check_value(uri, "token_histogram", lengths, receipt.profile.token_histogram)
    check_conserved(uri, shard, receipt)
    if receipt.part_sha256 != hashlib.sha256(data).hexdigest():
        raise VerificationError(
            f"{uri}: the part changed after it was written (its sha256"
            " differs from the receipt)"
        )
    return part


def check_conserved(uri: str, shard: Shard, receipt: Receipt) -> None:
    """Raise VerificationError when a receipt has other rows than its shard."""
    settled = receipt.rows_scored + receipt.rows_rejected
    if receipt.rows_in != shard.num_rows or receipt.rows_in != settled:
        raise VerificationError(
            f"{uri}: rows were lost or doubled ({receipt.rows_in:,} read,"
            f" {receipt.rows_scored:,} scored, {receipt.rows_rejected:,}"
            " rejected)"
        )
    if receipt.ids_in != (receipt.ids_out + receipt.ids_rejected) % DIGEST_MODULUS:
        raise VerificationError(f"{uri}: the ad ids differ from those of the input")


def check_rejected(plan: Plan, shard: Shard, receipt: Receipt) -> None:
    """Compare the rejected rows of a shard with its receipt."""
    if not receipt.rows_rejected:
        return
    uri = storage.join(plan.run_uri, shard.rejected_name)
    if not plan.is_sealed and not storage.exists(uri):
        uri = storage.join(plan.run_uri, shard.older_rejected_name)
    parquet = open_parquet(uri, read_object(uri))
    rejected = read_columns(uri, parquet, ERROR_SCHEMA.names)
    reasons = reason_counts(rejected)
    check_value(uri, "rejected_reasons", reasons, receipt.rejected_reasons)
    check_value(uri, "ids_rejected", ids_digest(rejected["ad_id"]), receipt.ids_rejected)


def check_value(uri: str, name: str, value: object, noted: object) -> None:
    """Raise VerificationError where a file has another value than its receipt."""
    if value != noted:
        raise VerificationError(f"{uri}: {name} is {value}, its receipt says {noted}")


def check_origin(uri: str, parquet: pq.ParquetFile, plan: Plan) -> None:
    """Raise VerificationError when a file is of another bundle or run."""
    metadata = _metadata(parquet)
    expected = {"bundle": plan.bundle.fingerprint, "run_id": plan.run_id}
    for key, value in expected.items():
        if metadata.get(f"rubert_ood.{key}".encode(), b"").decode() != value:
            raise VerificationError(
                f"{uri}: another {key.removesuffix('_id')} wrote this file"
            )


def read_object(uri: str) -> bytes:
    """Return a file of the run; VerificationError when it is not there."""
    try:
        return storage.read_bytes(uri)
    except InputError as error:
        raise VerificationError(str(error)) from error


def open_parquet(uri: str, data: bytes) -> pq.ParquetFile:
    """Open the bytes of a Parquet file; VerificationError when they cannot be read."""
    try:
        return pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(uri, error) from error


def read_columns(
    uri: str, parquet: pq.ParquetFile, columns: Sequence[str] | None
) -> pa.Table:
    """Read some columns of a file, or all; VerificationError where one of them, or of PART_COLUMNS,
    is not there."""
    check_columns(uri, parquet, PART_COLUMNS if columns is None else columns)
    try:
        return parquet.read(columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(uri, error) from error


def check_columns(uri: str, parquet: pq.ParquetFile, columns: Sequence[str]) -> None:
    """Raise VerificationError that names a column which is not there, and who wrote the file;
    LATER_COLUMNS need not be."""
    metadata = _metadata(parquet)
    written_by = metadata.get(b"rubert_ood.code_version", b"?").decode()
    hint = f". Verify it with rubert_ood {written_by}, which wrote it"
    present = {*parquet.schema_arrow.names, *LATER_COLUMNS}
    for name in columns:
        if name not in present:
            raise VerificationError(
                f"{uri}: the file has no column"
                f" {name!r}{'' if written_by == __version__ else hint}"
            )


def _metadata(parquet: pq.ParquetFile) -> Mapping[bytes, bytes]:
    return parquet.schema_arrow.metadata or {}


def unreadable(uri: str, error: Exception) -> VerificationError:
    """Return the error that says why a file cannot be read."""
    reason = " ".join(str(error).split())
    return VerificationError(f"{uri}: the file cannot be read as Parquet: {reason}")

"""The third stage: unfold, put the rejected rows, the part, and last the receipt.

Each of them is created once: one that is there and good stays, and the receipt is that of the part
that is there. So a worker that comes late, of a start that was taken over, changes nothing that the
newer start has published.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubert_ood import __version__, storage
from rubert_ood.ads.schema import decoded
from rubert_ood.ads.text import text_key
from rubert_ood.errors import InputError, PartialRunError
from rubert_ood.ood.decision import OTHER
from rubert_ood.runs.claim import check_claim
from rubert_ood.runs.part import (
    ERROR_SCHEMA,
    LENGTH_FIELDS,
    STATUS_EMPTY,
    ids_digest,
    part_schema,
    to_parquet,
)
from rubert_ood.runs.plan import Shard
from rubert_ood.runs.profile import Cities, ShardProfile, token_histogram, top_ood
from rubert_ood.runs.receipts import (
    Receipt,
    Timing,
    Written,
    find_receipt,
    make_receipt,
    receipt_uri,
)
from rubert_ood.scoring.job import ScoringJob, attempt, from_ipc

SETTLE_ATTEMPTS = 5
NEVER_DIFFERS = ("ad_id", "status", "text_key")
"""Columns that two attempts at a shard agree on, where the last bits of a score may differ."""


def write(item: dict[str, Any], job: ScoringJob) -> dict[str, Any]:
    """Put the rejected rows, the part, and last the receipt; return what became of the shard,
    without its rows."""
    shard = Shard(**json.loads(item["shard"]))

    def put(item: dict[str, Any]) -> dict[str, Any]:
        timing = Timing(item["started"], item["busy_s"], item["idle_s"])
        cities = Cities.model_validate_json(item["cities"]) if item["cities"] else None
        profile = ShardProfile(cities=cities, padded_tokens=item["padded_tokens"])
        rows, texts = from_ipc(item["rows"]), from_ipc(item["texts"])
        try:
            _write_shard(shard, rows, texts, profile, timing, job)
        except InputError as error:  # of a file of the run itself: the input was read long before
            raise PartialRunError(str(error)) from error
        return {}

    item = attempt(put, item)
    return {name: item[name] for name in ("shard_id", "failure", "fault")}


def _write_shard(
    shard: Shard,
    rows: pa.Table,
    texts: pa.Table,
    profile: ShardProfile,
    timing: Timing,
    job: ScoringJob,
) -> None:
    errors, part = rejected_rows(shard, rows), part_table(rows, texts, job)
    if errors.num_rows:
        uri = storage.join(job.run_uri, shard.rejected_name)
        _settle(
            uri,
            to_parquet(errors),
            job,
            lambda data: _same(_read(data), errors, errors.schema.names),
        )
    uri, own = storage.join(job.run_uri, shard.part_name), to_parquet(part)
    data = _settle(uri, own, job, lambda data: _is_part(data, shard, part, job))
    if data != own:
        part = pq.read_table(io.BytesIO(data))
    seen = {
        "top_ood": top_ood(shard, part, texts),
        "token_histogram": token_histogram(part["num_tokens"].to_numpy()),
    }
    receipt = make_receipt(
        shard,
        Written(part, data),
        errors,
        ids_in=ids_digest(rows["ad_id"]),
        fingerprint=job.run_fingerprint,
        timing=timing,
        profile=profile.model_copy(update=seen),
    )
    _settle(
        receipt_uri(job.run_uri, shard.shard_id),
        storage.to_json(receipt),
        job,
        lambda _: _is_receipt_of(
            find_receipt(job.run_uri, shard.shard_id, job.run_fingerprint), receipt
        ),
    )


def _settle(uri: str, data: bytes, job: ScoringJob, is_good: Callable[[bytes], bool]) -> bytes:
    """Put an object where there is none, or for one that is not good; return what is there.

    The claim is asked before each put, and after the look at what is there: so whatever a newer
    start writes is another version, and is not replaced. Raises PartialRunError when the run was
    taken over.
    """
    _check_claim(job)
    if storage.create_bytes(uri, data):
        return data
    for _ in range(SETTLE_ATTEMPTS):
        found, version = storage.read_versioned(uri)
        if found is not None and (found == data or is_good(found)):
            return found
        _check_claim(job)
        if storage.swap_bytes(uri, data, version):
            return data
    raise PartialRunError(
        f"{uri}: another process writes it all the time; the same command goes on from there"
    )


def _check_claim(job: ScoringJob) -> None:
    if job.runner:
        check_claim(job.run_uri, job.runner)


def _is_part(data: bytes, shard: Shard, part: pa.Table, job: ScoringJob) -> bool:
    """Say whether this is the part of a shard: by its receipt, else by the rows that it must
    have."""
    receipt = find_receipt(job.run_uri, shard.shard_id, job.run_fingerprint)
    if receipt is not None:
        return receipt.part_sha256 == hashlib.sha256(data).hexdigest()
    found = _read(data)
    if found is None or not found.schema.equals(part.schema):
        return False
    return found.schema.metadata == part.schema.metadata and _same(found, part, NEVER_DIFFERS)


def _is_receipt_of(found: Receipt | None, receipt: Receipt) -> bool:
    names = ("part_sha256", "rows_in", "rows_rejected", "ids_in", "ids_rejected")
    return found is not None and all(
        getattr(found, name) == getattr(receipt, name) for name in names
    )


def _read(data: bytes) -> pa.Table | None:
    try:
        return pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError):
        return None  # not whole


def _same(found: pa.Table | None, expected: pa.Table, columns: Sequence[str]) -> bool:
    """Say whether two tables agree in these columns."""
    if found is None or not set(columns) <= set(found.schema.names):
        return False
    return found.select(columns).equals(expected.select(columns))


def rejected_rows(shard: Shard, rows: pa.Table) -> pa.Table:
    """Name file, row (counted from 0) and reason of each rejected ad."""
    rejected = pc.is_valid(rows["reason"])
    numbers = np.flatnonzero(rejected.to_numpy(zero_copy_only=False)) + shard.start
    bad = rows.filter(rejected)
    ad_ids = [value if isinstance(value, str) else None for value in decoded(bad["ad_id"])]
    columns = [[shard.uri] * bad.num_rows, numbers, ad_ids, bad["reason"].combine_chunks()]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, ERROR_SCHEMA, strict=True)],
        schema=ERROR_SCHEMA,
    )


def part_table(rows: pa.Table, texts: pa.Table, job: ScoringJob) -> pa.Table:
    """Give each accepted ad, in input order, the result of its text."""
    rows = rows.filter(pc.is_null(rows["reason"]))
    scores = texts.select([name for name in texts.schema.names if name != "excerpt"]).take(
        rows["text_index"]
    )  # a null index gives a row of nulls
    empty = pc.equal(rows["status"], STATUS_EMPTY)
    columns = {name: scores[name] for name in scores.schema.names}
    columns["ad_id"], columns["status"] = rows["ad_id"], rows["status"]
    columns["label"] = pc.if_else(empty, OTHER, scores["label"])
    columns["is_ood"] = pc.if_else(empty, False, scores["is_ood"])
    for field in LENGTH_FIELDS:
        columns[field.name] = pc.if_else(empty, pa.scalar(0).cast(field.type), scores[field.name])
    columns["text_key"] = pc.if_else(empty, text_key(""), scores["text_key"])
    carried = [rows.schema.field(f"carry.{name}").with_name(name) for name in job.carry_columns]
    columns |= {name: rows[f"carry.{name}"] for name in job.carry_columns}
    hidden_size = texts.schema.field("embedding").type.list_size if job.embedding else None
    metadata = {"bundle": job.bundle_fingerprint, "run_id": job.run_id, "code_version": __version__}
    schema = part_schema(carried, hidden_size, metadata, subheads="sub_label" in texts.schema.names)
    return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)

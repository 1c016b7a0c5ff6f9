"""The third stage: unfold, put the rejected rows, the part, and last the receipt.

Each of them is created once: one that is there and good stays, and the receipt is that of the part
that is there. So a worker that comes late, of a start whose claim has ended, changes nothing that
the newer start has published.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubert_ood import __version__, storage
from rubert_ood.ads.schema import decoded
from rubert_ood.errors import InputError, PartialRunError
from rubert_ood.runs.claim import check_claim
from rubert_ood.runs.night_sample import night_sample
from rubert_ood.runs.night_sums import night_sums
from rubert_ood.runs.part import (
    ERROR_SCHEMA,
    SCORED_IN,
    ids_digest,
    part_schema,
    to_parquet,
    unfold,
)
from rubert_ood.runs.plan import Shard
from rubert_ood.runs.profile import token_histogram, top_ood
from rubert_ood.runs.receipts import (
    RECEIPT,
    Receipt,
    Written,
    find_receipt,
    make_receipt,
    receipt_uri,
)
from rubert_ood.runs.reuse import ReuseStop, stop_reuse
from rubert_ood.runs.settle import settle
from rubert_ood.scoring.item import FAULT_STALE, ShardItem, ShardResult, attempt
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.shard_counts import ShardCounts

NEVER_DIFFERS = ("ad_id", "status", "text_key")
"""Columns that two attempts at a shard agree on, where the last bits of a score may differ."""


def write(item: ShardItem, job: ScoringJob) -> ShardResult:
    """Put the rejected rows, the part, and last the receipt; say what became of the shard."""
    written = attempt(partial(_put_shard, job=job), item)
    shard_id = item.shard.shard_id
    return ShardResult(
        shard_id, written.failure, written.fault, written.trace, written.counts
    )


def _put_shard(item: ShardItem, job: ScoringJob) -> ShardItem:
    if item.mismatch:
        _stop_reuse(item, job)
    if item.reused.num_rows and job.is_stopped:
        reason = (
            "the shard reused results before the check stopped reuse, so it is"
            " scored again"
        )
        return replace(item, failure=reason, fault=FAULT_STALE)
    try:
        rejected = rejected_rows(item.shard, item.rows)
        if rejected.num_rows:
            _put_rejected(rejected, item.shard, job)
        receipt = _receipt_of(item, rejected, _put_part(item, job), job)
        _put_receipt(receipt, job)
    except InputError as error:
        # of a file of the run itself: the input was read long before
        raise PartialRunError(str(error)) from error
    return replace(item, counts=ShardCounts.of(receipt, job.plan.run_id))


def _stop_reuse(item: ShardItem, job: ScoringJob) -> None:
    """Note that results of the index are not those of the model."""
    plan, counts = job.plan, item.reuse
    assert plan.reuse is not None
    stop = ReuseStop(
        shard_id=item.shard.shard_id,
        reused_uri=plan.reuse.run_uri,
        texts_checked=counts.texts_checked,
        texts_mismatched=counts.texts_mismatched,
        reason=item.mismatch,
    )
    _check_claim(job)
    stop_reuse(plan.run_uri, stop)


def _put_rejected(rejected: pa.Table, shard: Shard, job: ScoringJob) -> None:
    def is_good(data: bytes) -> bool:
        return _same(_read(data), rejected, rejected.schema.names)

    uri = storage.join(job.plan.run_uri, shard.rejected_name)
    _settle(uri, to_parquet(rejected), job, is_good)


def _put_part(item: ShardItem, job: ScoringJob) -> Written:
    """Put the part; return the one that is there."""
    part = part_table(item.rows, all_texts(item, job), job)
    own = to_parquet(part)
    uri = job.plan.part_uri(item.shard)
    data = _settle(uri, own, job, lambda data: _is_part(data, item.shard, part, job))
    if data != own:
        part = pq.read_table(io.BytesIO(data))
    texts_reused = pc.count_distinct(_reused_keys(part, job)).as_py()
    counts = item.reuse.model_copy(update={"texts_reused": texts_reused})
    return Written(part, data, counts)


def all_texts(item: ShardItem, job: ScoringJob) -> pa.Table:
    """Put the results that were taken over behind those of this run, as text_index counts them."""
    texts = item.texts
    own = pa.repeat(pa.scalar(job.plan.run_id), texts.num_rows)
    texts = texts.append_column(SCORED_IN, own)
    if not item.reused.num_rows:
        return texts
    reused = item.reused.select(texts.schema.names).cast(texts.schema)
    return pa.concat_tables([texts, reused])


def _reused_keys(part: pa.Table, job: ScoringJob) -> pa.ChunkedArray:
    """Return the text keys of the rows whose results another run computed."""
    is_other = pc.not_equal(part[SCORED_IN.name], job.plan.run_id)
    return part["text_key"].filter(is_other)


def _receipt_of(
    item: ShardItem, rejected: pa.Table, written: Written, job: ScoringJob
) -> Receipt:
    profile = item.profile.model_copy(
        update={
            "top_ood": top_ood(item.shard, written.table, _excerpts(item)),
            "token_histogram": token_histogram(written.table["num_tokens"].to_numpy()),
            "night": night_sums(written.table),
            "sample": night_sample(written.table, job.sample_limit),
        }
    )
    return make_receipt(
        item.shard,
        written,
        rejected,
        ids_in=ids_digest(item.rows["ad_id"]),
        fingerprint=job.plan.fingerprint,
        timing=item.timing,
        profile=profile,
    )


def _excerpts(item: ShardItem) -> pa.Table:
    """Return the beginnings of all texts, if they may be kept."""
    tables = [table for table in (item.texts, item.reused) if table.num_columns]
    names = [name for name in ("text_key", "excerpt") if name in item.texts.schema.names]
    return pa.concat_tables([table.select(names) for table in tables])


def _put_receipt(receipt: Receipt, job: ScoringJob) -> None:
    plan = job.plan

    def is_good(_: bytes) -> bool:
        found = find_receipt(plan.run_uri, receipt.shard_id, plan.fingerprint)
        return _is_receipt_of(found, receipt)

    uri = receipt_uri(plan.run_uri, receipt.shard_id)
    _settle(uri, RECEIPT.dump_json(receipt), job, is_good)


def _settle(
    uri: str, data: bytes, job: ScoringJob, is_good: Callable[[bytes], bool]
) -> bytes:
    """Put an object as `settle` does; PartialRunError when the run is claimed by another one."""
    return settle(uri, data, partial(_check_claim, job), is_good)


def _check_claim(job: ScoringJob) -> None:
    if job.claim:
        check_claim(job.plan.run_uri, job.claim)


def _is_part(data: bytes, shard: Shard, part: pa.Table, job: ScoringJob) -> bool:
    """Say whether this is the part of a shard: by its receipt, else by the rows that it must
    have."""
    receipt = find_receipt(job.plan.run_uri, shard.shard_id, job.plan.fingerprint)
    if receipt is not None:
        return receipt.part_sha256 == hashlib.sha256(data).hexdigest()
    found = _read(data)
    if found is None or not found.schema.equals(part.schema):
        return False
    if len(_reused_keys(found, job)) and job.is_stopped:
        return False
    return found.schema.metadata == part.schema.metadata and _same(
        found, part, NEVER_DIFFERS
    )


def _is_receipt_of(found: Receipt | None, receipt: Receipt) -> bool:
    names = ("part_sha256", "rows_in", "rows_rejected", "ids_in", "ids_rejected")
    return all(getattr(found, name, None) == getattr(receipt, name) for name in names)


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
    ad_ids = [
        value if isinstance(value, str) else None for value in decoded(bad["ad_id"])
    ]
    columns = [
        [shard.uri] * bad.num_rows,
        numbers,
        ad_ids,
        bad["reason"].combine_chunks(),
    ]
    return pa.Table.from_arrays(
        [
            pa.array(column, field.type)
            for column, field in zip(columns, ERROR_SCHEMA, strict=True)
        ],
        schema=ERROR_SCHEMA,
    )


def part_table(rows: pa.Table, texts: pa.Table, job: ScoringJob) -> pa.Table:
    """Give each accepted ad, in input order, the result of its text."""
    plan = job.plan
    rows = rows.filter(pc.is_null(rows["reason"]))
    scores = texts.select([name for name in texts.schema.names if name != "excerpt"])
    part = unfold(scores, rows["text_index"]).append_column("ad_id", rows["ad_id"])
    position = part.schema.get_field_index(SCORED_IN.name)
    where = pc.fill_null(part[SCORED_IN.name], plan.run_id)  # nothing to read: no score
    part = part.set_column(position, SCORED_IN, where)
    carried = []
    for name in plan.carry_columns:
        column = rows[f"carry.{name}"]
        part = part.append_column(name, column)
        carried.append(pa.field(name, column.type))
    hidden_size = (
        texts.schema.field("embedding").type.list_size if plan.embedding else None
    )
    metadata = {
        "bundle": plan.bundle.fingerprint,
        "run_id": plan.run_id,
        "code_version": __version__,
    }
    subheads = "sub_label" in texts.schema.names
    schema = part_schema(carried, hidden_size, metadata, subheads=subheads)
    return part.select(schema.names).cast(schema)

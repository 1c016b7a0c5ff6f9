"""The third stage: unfold, put the rejected rows, the part, and last the receipt."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rubert_ood import __version__, storage
from rubert_ood.ads.schema import decoded
from rubert_ood.ads.text import text_key
from rubert_ood.ood.decision import OTHER
from rubert_ood.scoring.ledger import make_receipt, put_receipt
from rubert_ood.scoring.payload import ScoringJob, attempt, from_ipc
from rubert_ood.scoring.plan import Shard
from rubert_ood.scoring.records import ERROR_SCHEMA, LENGTH_FIELDS, STATUS_EMPTY, ids_digest, part_schema, to_parquet
from rubert_ood.scoring.runner import check_holder
from rubert_ood.scoring.top_ood import top_ood


def write(item: dict[str, Any], job: ScoringJob) -> dict[str, Any]:
    """Put the rejected rows, the part, and last the receipt; return what became of the shard, without its rows."""
    shard = Shard(**json.loads(item["shard"]))

    def put(item: dict[str, Any]) -> dict[str, Any]:
        measured = {name: item[name] for name in ("started", "busy_s", "idle_s", "padded_tokens")}
        measured["cities"] = json.loads(item["cities"] or "null")
        _write_shard(shard, from_ipc(item["rows"]), from_ipc(item["texts"]), measured, job)
        return {}

    item = attempt(put, item)
    return {name: item[name] for name in ("shard_id", "failure", "fault")}


def _write_shard(shard: Shard, rows: pa.Table, texts: pa.Table, measured: dict[str, Any], job: ScoringJob) -> None:
    errors, part = rejected_rows(shard, rows), part_table(rows, texts, job)
    data = to_parquet(part)
    if job.runner:  # a start that was taken over writes into nothing that the newer one may have published
        check_holder(job.run_uri, job.runner)
    if errors.num_rows:
        storage.put_bytes(storage.join(job.run_uri, shard.rejected_name), to_parquet(errors))
    storage.put_bytes(storage.join(job.run_uri, shard.part_name), data)
    receipt = make_receipt(
        shard,
        part,
        errors,
        part_data=data,
        ids_in=ids_digest(rows["ad_id"]),
        fingerprint=job.run_fingerprint,
        top_ood=top_ood(shard, part, texts),
        **measured,
    )
    put_receipt(job.run_uri, receipt)


def rejected_rows(shard: Shard, rows: pa.Table) -> pa.Table:
    """Name file, row (counted from 0) and reason of each rejected ad."""
    rejected = pc.is_valid(rows["reason"])
    numbers = np.flatnonzero(rejected.to_numpy(zero_copy_only=False)) + shard.start
    bad = rows.filter(rejected)
    ad_ids = [value if isinstance(value, str) else None for value in decoded(bad["ad_id"])]
    columns = [[shard.uri] * bad.num_rows, numbers, ad_ids, bad["reason"].combine_chunks()]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, ERROR_SCHEMA, strict=True)], schema=ERROR_SCHEMA
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

"""The three stages of scoring, each a function of one shard: encode -> score -> write.

A shard travels between stages as one row: its description and two tables as Arrow IPC bytes. So a shard can neither be
split nor merged on the way, and one without a scorable row still arrives. A shard that fails for a reason that the user
can mend (a damaged file, say) travels on with that reason in `failure`: it does not stop the others.

    encode   rows: ad_id, carried columns, status, text_index    texts: text_key, ids   (each different text once)
    score    rows unchanged                                      texts: SCORE_FIELDS, num_tokens, text_key
    write    one Parquet part, the rejected rows, one receipt
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubert_ood import __version__, storage
from rubert_ood.ads.schema import as_text, decoded
from rubert_ood.ads.tables import read_rows
from rubert_ood.ads.text import ad_text, text_key
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier.tokens import num_tokens, tokenize
from rubert_ood.errors import RubertOodError
from rubert_ood.ood.decision import OTHER
from rubert_ood.scoring.ledger import make_receipt, put_receipt
from rubert_ood.scoring.plan import Plan, Shard
from rubert_ood.scoring.records import ERROR_SCHEMA, STATUS_EMPTY, STATUS_OK, ids_digest, part_schema

TEXT_ROLES = ("title", "description")


@dataclass(frozen=True)
class ScoringJob:
    """What every stage of a run needs to know; small, so that it can travel with each task."""

    run_uri: str
    run_id: str
    run_fingerprint: str
    bundle_uri: str
    bundle_fingerprint: str
    carry_columns: list[str]
    embedding: bool
    use_gpu: bool
    token_budget: int
    actors_per_node: int
    """Scoring actors that share the cores of a node."""

    @classmethod
    def of(cls, plan: Plan, *, token_budget: int, actors_per_node: int) -> "ScoringJob":
        return cls(
            run_uri=plan.run_uri,
            run_id=plan.run_id,
            run_fingerprint=plan.fingerprint,
            bundle_uri=plan.bundle["uri"],
            bundle_fingerprint=plan.bundle["fingerprint"],
            carry_columns=plan.carry_columns,
            embedding=plan.embedding,
            use_gpu=plan.use_gpu,
            token_budget=token_budget,
            actors_per_node=actors_per_node,
        )


# ---- encode ----


def encode(item: dict[str, Any], job: ScoringJob) -> dict[str, Any]:
    """Read a shard, set bad rows aside, clean, fold equal texts, tokenize."""
    started = time.time()
    try:
        rows, texts = _encode_shard(Shard(**json.loads(item["shard"])), job)
    except RubertOodError as error:
        return item | {"started": started, "rows": b"", "texts": b"", "failure": str(error)}
    return item | {"started": started, "rows": to_ipc(rows), "texts": to_ipc(texts), "failure": ""}


def _encode_shard(shard: Shard, job: ScoringJob) -> tuple[pa.Table, pa.Table]:
    from rubert_ood.classifier.model import load_tokenizer

    bundle = _bundle(job.bundle_uri, job.bundle_fingerprint)
    wanted = list(dict.fromkeys([*shard.columns.values(), *job.carry_columns]))
    table = read_rows(shard.uri, wanted, start=shard.start, stop=shard.stop)
    rows, texts = encode_table(table, shard.columns, job.carry_columns, bundle)
    ids = tokenize(_tokenizer(bundle.folder, load_tokenizer), texts, bundle.max_length)
    return rows, pa.table({"text_key": pa.array([text_key(text) for text in texts], pa.string()), "ids": ids})


def encode_table(
    table: pa.Table, columns: dict[str, str], carry_columns: list[str], bundle: Bundle
) -> tuple[pa.Table, list[str]]:
    """Return one row per ad (ad_id, carried columns, status, reason, text_index) and the different texts.

    text_index points into the texts; it is null for empty and rejected ads. reason is null unless rejected.
    """
    ad_ids = as_text(table[columns["ad_id"]])
    absent = [None] * table.num_rows
    parts = [decoded(as_text(table[columns[role]])) if role in columns else absent for role in TEXT_ROLES]
    index: dict[str, int] = {}
    status, reasons, text_indices = [], [], []
    for ad_id, title, description in zip(decoded(ad_ids), *parts, strict=True):
        reason = _reject_reason(ad_id, title, description)
        text = "" if reason else bundle.cleaner.clean(ad_text(title, description))
        reasons.append(reason)
        status.append(STATUS_OK if text else STATUS_EMPTY)
        text_indices.append(index.setdefault(text, len(index)) if text else None)
    rows = {"ad_id": ad_ids, **{f"carry.{name}": table[name] for name in carry_columns}}
    rows |= {
        "status": pa.array(status, pa.string()),
        "reason": pa.array(reasons, pa.string()),
        "text_index": pa.array(text_indices, pa.int64()),
    }
    return pa.table(rows), list(index)


def _reject_reason(ad_id: Any, title: Any, description: Any) -> str | None:
    if ad_id is None:
        return "ad_id is null"
    if ad_id == "":  # what a missing id in a CSV file reads as
        return "ad_id is empty"
    for name, value in (("ad_id", ad_id), ("title", title), ("description", description)):
        if isinstance(value, bytes):
            return f"{name} is not UTF-8"
    return None


# ---- score ----


class Scorer:
    """The actor that holds the model."""

    def __init__(self, job: ScoringJob) -> None:
        import torch

        from rubert_ood.classifier.model import Classifier

        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // job.actors_per_node))
        self.job = job
        self.bundle = _bundle(job.bundle_uri, job.bundle_fingerprint)
        self.classifier = Classifier.load(self.bundle.folder, use_gpu=job.use_gpu)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["failure"]:
            return item
        return item | {"texts": to_ipc(self.score(from_ipc(item["texts"])))}

    def score(self, texts: pa.Table) -> pa.Table:
        """Replace the token ids of each text by what the model says of it."""
        ids = pa.concat_arrays(texts["ids"].chunks) if texts.num_rows else tokenize(None, [], 0)
        logits_NC, cls_NH = self.classifier.run(ids, token_budget=self.job.token_budget)
        decisions = self.bundle.fitted.decide(logits_NC, cls_NH)
        columns: dict[str, Any] = {
            "label": pa.array(list(decisions.label), pa.string()),
            "confidence": pa.array(decisions.confidence_N, pa.float32()),
            "topk_labels": pa.array(decisions.topk_labels.tolist(), pa.list_(pa.string())),
            "topk_scores": pa.array(decisions.topk_scores.tolist(), pa.list_(pa.float32())),
            "is_ood": pa.array(decisions.is_ood, pa.bool_()),
            "ood_distance": pa.array(decisions.ood_distance_N, pa.float64()),
            "ood_z": pa.array(decisions.ood_z_N, pa.float64()),
            "ood_p": pa.array(decisions.ood_p_N, pa.float64()),
            "num_tokens": pa.array(num_tokens(ids), pa.int32()),
            "text_key": texts["text_key"],
        }
        if self.job.embedding:
            flat = pa.array(cls_NH.astype(np.float16).ravel(), pa.float16())
            columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, cls_NH.shape[1])
        return pa.table(columns)


# ---- write ----


def write(item: dict[str, Any], job: ScoringJob) -> dict[str, Any]:
    """Put the rejected rows, the part, and last the receipt; return the number of rows done, or the failure."""
    shard = Shard(**json.loads(item["shard"]))
    failure = item["failure"]
    if not failure:
        try:
            _write_shard(shard, from_ipc(item["rows"]), from_ipc(item["texts"]), item["started"], job)
        except RubertOodError as error:
            failure = str(error)
    return {"rows": 0 if failure else shard.num_rows, "failure": failure}


def _write_shard(shard: Shard, rows: pa.Table, texts: pa.Table, started: float, job: ScoringJob) -> None:
    errors = rejected_rows(shard, rows)
    if errors.num_rows:
        storage.put_bytes(storage.join(job.run_uri, "_errors", shard.part_name), to_parquet(errors))
    part = part_table(rows, texts, job)
    data = to_parquet(part)
    storage.put_bytes(storage.join(job.run_uri, shard.part_name), data)
    receipt = make_receipt(
        shard,
        part,
        errors,
        part_data=data,
        ids_in=ids_digest(rows["ad_id"]),
        fingerprint=job.run_fingerprint,
        started=started,
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
    scores = texts.take(rows["text_index"])  # a null index gives a row of nulls
    empty = pc.equal(rows["status"], STATUS_EMPTY)
    columns = {name: scores[name] for name in scores.schema.names}
    columns["ad_id"], columns["status"] = rows["ad_id"], rows["status"]
    columns["label"] = pc.if_else(empty, OTHER, scores["label"])
    columns["is_ood"] = pc.if_else(empty, False, scores["is_ood"])
    columns["num_tokens"] = pc.if_else(empty, pa.scalar(0, pa.int32()), scores["num_tokens"])
    columns["text_key"] = pc.if_else(empty, text_key(""), scores["text_key"])
    carried = [rows.schema.field(f"carry.{name}").with_name(name) for name in job.carry_columns]
    columns |= {name: rows[f"carry.{name}"] for name in job.carry_columns}
    hidden_size = texts.schema.field("embedding").type.list_size if job.embedding else None
    metadata = {"bundle": job.bundle_fingerprint, "run_id": job.run_id, "code_version": __version__}
    schema = part_schema(carried, hidden_size, metadata)
    return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)


# ---- between the stages ----


def to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def to_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def shard_item(shard: Shard) -> dict[str, Any]:
    """Describe a shard as the one row that enters the first stage."""
    return {"shard": json.dumps(asdict(shard), ensure_ascii=False)}


@lru_cache(maxsize=1)
def _bundle(uri: str, fingerprint: str) -> Bundle:
    return load_bundle(uri, fingerprint=fingerprint)


@lru_cache(maxsize=1)
def _tokenizer(folder: str, load: Any) -> Any:
    return load(folder)

"""The first stage: read a shard, set bad rows aside, clean, fold equal texts, tokenize and cut into windows."""

import json
import time
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rubert_ood.ads.schema import as_text, decoded
from rubert_ood.ads.tables import read_rows
from rubert_ood.ads.text import ad_text, text_key
from rubert_ood.bundle import Bundle
from rubert_ood.classifier.windows import cut
from rubert_ood.scoring.cities import count_cities
from rubert_ood.scoring.payload import ScoringJob, attempt, job_bundle, to_ipc
from rubert_ood.scoring.plan import Shard
from rubert_ood.scoring.records import STATUS_EMPTY, STATUS_OK
from rubert_ood.scoring.top_ood import EXCERPT_CHARACTERS

TEXT_ROLES = ("title", "description")


def encode(item: dict[str, Any], job: ScoringJob) -> dict[str, Any]:
    """Read a shard, set bad rows aside, clean, fold equal texts, tokenize and cut into windows."""
    return attempt(lambda item: _encode_shard(Shard(**json.loads(item["shard"])), job), item)


def _encode_shard(shard: Shard, job: ScoringJob) -> dict[str, Any]:
    started = time.time()
    bundle = job_bundle(job.bundle_uri, job.bundle_fingerprint)
    wanted = list(dict.fromkeys([*shard.columns.values(), *job.carry_columns]))
    table = read_rows(
        shard.uri,
        wanted,
        start=shard.start,
        stop=shard.stop,
        version=shard.version,
        delimiter=shard.delimiter,
    )
    rows, texts = encode_table(table, shard.columns, job.carry_columns, bundle)
    windows = cut(_tokenizer(bundle.folder), texts, max_length=bundle.max_length, long_text=bundle.long_text)
    encoded = {"text_key": pa.array([text_key(text) for text in texts], pa.string()), **windows.columns()}
    if job.report_texts:
        encoded["excerpt"] = pa.array([text[:EXCERPT_CHARACTERS] for text in texts], pa.string())
    cities = ""
    if "city" in shard.columns:
        accepted = table[shard.columns["city"]].filter(pc.is_null(rows["reason"]))
        cities = json.dumps(count_cities(accepted, bundle.cleaner))
    return {"started": started, "rows": to_ipc(rows), "texts": to_ipc(pa.table(encoded)), "cities": cities}


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


@lru_cache(maxsize=1)
def _tokenizer(folder: str) -> Any:
    from rubert_ood.classifier.model import load_tokenizer

    return load_tokenizer(folder)

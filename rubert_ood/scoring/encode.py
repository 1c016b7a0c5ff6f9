"""The first stage: read a shard, set bad rows aside, clean, fold equal texts, tokenize and cut into
windows."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from rubert_ood.ads.schema import as_text, decoded
from rubert_ood.ads.tables import iter_rows
from rubert_ood.ads.text import ad_text
from rubert_ood.bundle import Bundle
from rubert_ood.runs.part import STATUS_EMPTY, STATUS_OK
from rubert_ood.runs.plan import Shard, unpack_schema
from rubert_ood.runs.profile import Cities, CityCounter
from rubert_ood.scoring.carry import cast_carried
from rubert_ood.scoring.fold import TextFolder
from rubert_ood.scoring.job import (
    ScoringJob,
    attempt,
    job_bundle,
    to_ipc,
)
from rubert_ood.storage.retry import retried

ROLES = ("ad_id", "title", "description", "city")
BATCH_ROWS = 32
"""Rows that are read at a time, since a row may be of megabytes."""
MAX_ID_BYTES = 1_000
KEPT_ID_CHARACTERS = 100
"""Of an id that is too long."""


@dataclass(frozen=True)
class EncodedRows:
    rows: pa.Table
    """One row per ad: ad_id, carried columns, status, reason, text_index.

    text_index points into the texts; it is null for empty and rejected ads. reason is null unless
    rejected.
    """
    texts: pa.Table
    """Each different text once: text_key, excerpt, windows, num_tokens, is_cut."""
    cities: Cities | None
    """What CityCounter found; None without such a column."""


def encode(item: dict[str, Any], job: ScoringJob) -> dict[str, Any]:
    """Read a shard, set bad rows aside, clean, fold equal texts, tokenize and cut into windows."""
    return attempt(lambda item: _encode_shard(Shard(**json.loads(item["shard"])), job), item)


def _encode_shard(shard: Shard, job: ScoringJob) -> dict[str, Any]:
    started = time.time()
    bundle = job_bundle(job.bundle_uri, job.bundle_fingerprint)
    encoded = encode_rows(shard.uri, shard, bundle, carry=unpack_schema(job.carry_schema))
    texts = encoded.texts if job.report_texts else encoded.texts.drop_columns("excerpt")
    cities = "" if encoded.cities is None else encoded.cities.model_dump_json()
    return {
        "started": started,
        "rows": to_ipc(encoded.rows),
        "texts": to_ipc(texts),
        "cities": cities,
    }


@retried
def encode_rows(uri: str, shard: Shard, bundle: Bundle, *, carry: pa.Schema) -> EncodedRows:
    """Encode the rows of a shard, of which few are in memory at a time; `carry` has the carried
    columns."""
    columns = shard.columns
    texts, cities = TextFolder(bundle, _tokenizer(bundle.folder)), CityCounter(bundle.cleaner)
    ad_ids, reasons, numbers = list[str | None](), list[str | None](), list[int | None]()
    carried: dict[str, list[pa.Array]] = {name: [] for name in carry.names}
    for batch in _batches(shard, carry.names):
        table = pa.Table.from_batches([batch])
        values = [_values(table, columns.get(role)) for role in ROLES]
        for ad_id, title, description, city in zip(*values, strict=True):
            reason = _reject_reason(ad_id, title, description)
            reasons.append(reason)
            ad_ids.append(_kept_id(ad_id))
            numbers.append(None if reason else texts.add(ad_text(title, description)))
            if reason is None:
                cities.add(city)
        for name, chunks in carried.items():
            chunks += cast_carried(uri, table[name], carry.field(name)).chunks
    rows = {"ad_id": pa.array(ad_ids, pa.string())}
    rows |= {
        f"carry.{name}": pa.chunked_array(chunks, carry.field(name).type)
        for name, chunks in carried.items()
    }
    found, row_N = texts.finish()
    text_index = [
        None if number is None or row_N[number] < 0 else row_N[number] for number in numbers
    ]
    status = [STATUS_EMPTY if row is None else STATUS_OK for row in text_index]
    rows |= {
        "status": pa.array(status, pa.string()),
        "reason": pa.array(reasons, pa.string()),
        "text_index": pa.array(text_index, pa.int64()),
    }
    return EncodedRows(
        pa.table(rows).combine_chunks(), found, cities.counts() if "city" in columns else None
    )


def _batches(shard: Shard, carried: list[str]) -> Iterator[pa.RecordBatch]:
    return iter_rows(
        shard.uri,
        list(dict.fromkeys([*shard.columns.values(), *carried])),
        start=shard.start,
        stop=shard.stop,
        version=shard.version,
        delimiter=shard.delimiter,
        batch_rows=BATCH_ROWS,
    )


def _values(table: pa.Table, column: str | None) -> list[Any]:
    return [None] * table.num_rows if column is None else decoded(as_text(table[column]))


def _kept_id(ad_id: str | bytes | None) -> str | None:
    """Return an id as the records of the run hold it; of one that is too long the beginning."""
    if not isinstance(ad_id, str):
        return None
    return f"{ad_id[:KEPT_ID_CHARACTERS]}..." if _is_long(ad_id) else ad_id


def _is_long(ad_id: str) -> bool:
    return len(ad_id) > MAX_ID_BYTES or len(ad_id.encode()) > MAX_ID_BYTES


def _reject_reason(ad_id: Any, title: Any, description: Any) -> str | None:
    if ad_id is None:
        return "ad_id is null"
    if ad_id == "":  # what a missing id in a CSV file reads as
        return "ad_id is empty"
    for name, value in (("ad_id", ad_id), ("title", title), ("description", description)):
        if isinstance(value, bytes):
            return f"{name} is not UTF-8"
    return f"ad_id is longer than {MAX_ID_BYTES:,} bytes" if _is_long(ad_id) else None


@lru_cache(maxsize=1)
def _tokenizer(folder: str) -> Any:
    from rubert_ood.classifier.checkpoint import load_tokenizer

    return load_tokenizer(folder)

"""The first stage: read a shard, reject bad rows, clean, fold equal texts, tokenize and cut into
windows."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from rubert_ood.ads.schema import as_text, decoded
from rubert_ood.ads.tables import iter_rows
from rubert_ood.ads.text import ad_text
from rubert_ood.errors import InputError
from rubert_ood.predictor import Model
from rubert_ood.runs.plan import Shard, unpack_schema
from rubert_ood.runs.profile import Cities, CityCounter, ShardProfile
from rubert_ood.runs.receipts import Timing
from rubert_ood.runs.reuse import ReuseCounts
from rubert_ood.scoring.carry import cast_carried, not_utf8
from rubert_ood.scoring.item import ShardItem, attempt
from rubert_ood.scoring.job import Reuse, ScoringJob
from rubert_ood.storage.retry import retried

ROLES = ("ad_id", "title", "description", "city")
BATCH_ROWS = 32
"""Rows that are read at a time, since a row may be of megabytes."""
MAX_ID_BYTES = 1_000
KEPT_ID_CHARACTERS = 100
"""Of an id that is too long."""

Cell = str | bytes | None
"""A value of a text column; bytes are not UTF-8."""


def _nothing() -> pa.Table:
    return pa.table({})


@dataclass(frozen=True)
class EncodedRows:
    """A shard that is read and tokenized."""

    rows: pa.Table
    """One row per ad: ad_id, reason, text_index, carried columns.

    reason is null unless the ad is rejected; text_index points into the texts, and is null for
    empty and rejected ads.
    """
    texts: pa.Table
    """Each different text once: text_key, excerpt, windows, num_tokens, is_cut."""
    cities: Cities | None
    """None where the table lacks such a column."""
    reused: pa.Table = field(default_factory=_nothing)
    """Results that are taken over; text_index counts them behind the texts."""
    checks: pa.Table = field(default_factory=_nothing)
    """What the index says of some of the texts, which are scored all the same."""
    without_index: bool = False


def encode(item: ShardItem, job: ScoringJob) -> ShardItem:
    """Read a shard and encode its rows."""
    return attempt(partial(_encode_shard, job=job), item)


def _encode_shard(item: ShardItem, job: ScoringJob) -> ShardItem:
    started = time.time()
    shard = item.shard
    carry = unpack_schema(job.plan.carry_schema)
    model, is_planned = job.reading_model(), job.plan.reuse and not job.is_stopped
    reuse = job.reuse() if is_planned else None
    encoded = encode_rows(shard.uri, shard, model, carry=carry, reuse=reuse)
    texts, reused = encoded.texts, encoded.reused
    if not job.plan.report_texts:
        texts = texts.drop_columns("excerpt")
        reused = reused.drop_columns("excerpt") if reused.num_columns else reused
    counts = ReuseCounts(
        texts_scored=texts.num_rows,
        texts_reused=reused.num_rows,
        texts_checked=encoded.checks.num_rows,
        without_index=bool(is_planned and (reuse is None or encoded.without_index)),
    )
    return replace(
        item,
        rows=in_one_piece(encoded.rows, shard),
        texts=texts,
        reused=reused,
        checks=encoded.checks,
        reuse=counts,
        timing=Timing(started, busy_s=0, idle_s=0),
        profile=ShardProfile(cities=encoded.cities),
    )


@retried
def encode_rows(
    uri: str, shard: Shard, model: Model, *, carry: pa.Schema, reuse: Reuse | None = None
) -> EncodedRows:
    """Encode the rows of a shard, of which few are in memory at a time; `carry` has the carried
    columns."""
    encoder = _Encoder(uri, shard, model, carry, reuse)
    for batch in _batches(shard, carry.names):
        encoder.add(pa.Table.from_batches([batch]))
    return encoder.finish()


class _Encoder:
    """Takes the rows of a shard a few at a time."""

    def __init__(
        self,
        uri: str,
        shard: Shard,
        model: Model,
        carry: pa.Schema,
        reuse: Reuse | None,
    ) -> None:
        self._uri = uri
        self._shard = shard
        self._taker = reuse.taker() if reuse else None
        self._texts = model.reader(self._taker)
        self._cities = CityCounter(model.bundle.cleaner)
        self._ad_ids: list[str | None] = []
        self._reasons: list[str | None] = []
        self._carry = carry
        self._carried: dict[str, list[pa.Array]] = {name: [] for name in carry.names}

    def add(self, table: pa.Table) -> None:
        faults = self._add_carried(table)
        columns = [_values(table, self._shard.columns.get(role)) for role in ROLES]
        noted = [faults.get(row) for row in range(table.num_rows)]
        for ad_id, title, description, city, fault in zip(*columns, noted, strict=True):
            self._add_row(ad_id, title, description, city, fault)

    def _add_carried(self, table: pa.Table) -> dict[int, str]:
        """Keep the carried columns; return which rows no reader of the output could read, and
        why."""
        faults = {}
        for name, chunks in self._carried.items():
            column = cast_carried(self._uri, table[name], self._carry.field(name))
            chunks += column.chunks
            for row in not_utf8(column):
                faults[row] = f"{name} is not UTF-8"
        return faults

    def _add_row(
        self, ad_id: Cell, title: Cell, description: Cell, city: Cell, fault: str | None
    ) -> None:
        self._ad_ids.append(_kept_id(ad_id))
        reason = _reject_reason(ad_id, title, description) or fault
        self._reasons.append(reason)
        if reason is not None:
            self._texts.add(None)
            return
        self._texts.add(ad_text(_as_str(title), _as_str(description)))
        self._cities.add(city)

    def finish(self) -> EncodedRows:
        texts, text_index = self._texts.finish()
        rows: dict[str, pa.Array | pa.ChunkedArray] = {
            "ad_id": pa.array(self._ad_ids, pa.string()),
            "reason": pa.array(self._reasons, pa.string()),
            "text_index": text_index,
        }
        for name, chunks in self._carried.items():
            rows[f"carry.{name}"] = pa.chunked_array(chunks, self._carry.field(name).type)
        has_city = "city" in self._shard.columns
        cities = self._cities.counts() if has_city else None
        encoded = EncodedRows(pa.table(rows), texts, cities)
        taker = self._taker
        if taker is None:
            return encoded
        reused, checks = self._texts.taken(), taker.checks()
        return replace(encoded, reused=reused, checks=checks, without_index=taker.failed)


def in_one_piece(rows: pa.Table, shard: Shard) -> pa.Table:
    """Make one array of each column; InputError where its text is more than one array can hold."""
    try:
        whole = rows.combine_chunks()
    except pa.ArrowInvalid:  # of a text inside a list
        whole = None
    if whole is None or any(column.num_chunks > 1 for column in whole.columns):
        raise InputError(
            f"{shard.uri}: rows {shard.start:,} to {shard.stop:,} carry more"
            " than 2 GB of text in one column. Lower shard_rows, or carry"
            " fewer columns"
        )
    return whole


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


def _values(table: pa.Table, column: str | None) -> list[Cell]:
    return [None] * table.num_rows if column is None else decoded(as_text(table[column]))


def _kept_id(ad_id: Cell) -> str | None:
    """Return an id as the records of the run hold it; of one that is too long the beginning."""
    text = _as_str(ad_id)
    if text is None or not _is_long(text):
        return text
    return f"{text[:KEPT_ID_CHARACTERS]}..."


def _as_str(value: Cell) -> str | None:
    return value if isinstance(value, str) else None


def _is_long(ad_id: Cell) -> bool:
    if not isinstance(ad_id, str):
        return False
    return len(ad_id) > MAX_ID_BYTES or len(ad_id.encode()) > MAX_ID_BYTES


def _reject_reason(ad_id: Cell, title: Cell, description: Cell) -> str | None:
    if ad_id is None:
        return "ad_id is null"
    if ad_id == "":  # what a missing id in a CSV file reads as
        return "ad_id is empty"
    for name, value in (("ad_id", ad_id), ("title", title), ("description", description)):
        if isinstance(value, bytes):
            return f"{name} is not UTF-8"
    return f"ad_id is longer than {MAX_ID_BYTES:,} bytes" if _is_long(ad_id) else None

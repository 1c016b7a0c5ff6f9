"""A shard as Ray Data carries it: an Arrow table of one row."""

from dataclasses import asdict, fields
from typing import Any

import pyarrow as pa

from rubert_ood.runs.plan import Shard
from rubert_ood.runs.profile import ShardProfile
from rubert_ood.runs.receipts import Timing
from rubert_ood.runs.reuse import ReuseCounts
from rubert_ood.scoring.item import ShardItem, ShardResult
from rubert_ood.scoring.shard_counts import ShardCounts

SHARD = pa.struct(
    [
        ("shard_id", pa.string()),
        ("uri", pa.string()),
        ("columns", pa.map_(pa.string(), pa.string())),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("version", pa.string()),
        ("delimiter", pa.string()),
    ]
)
CITIES = pa.struct(
    [
        ("rows", pa.int64()),
        ("rows_unseen", pa.int64()),
        ("unseen", pa.map_(pa.string(), pa.int64())),
    ]
)
TIMING = pa.struct([(name, pa.float64()) for name in ("started", "busy_s", "idle_s")])
COUNTED = [(name, pa.int64()) for name in ("scored_tokens", "padded_tokens")]
PROFILE = pa.struct([("cities", CITIES), *COUNTED])
"""What the stages before the last one know."""
TEXTS = ("texts_scored", "texts_reused", "texts_checked", "texts_mismatched")
REUSE = pa.struct(
    [*[(name, pa.int64()) for name in TEXTS], ("without_index", pa.bool_())]
)
ITEM = pa.schema(
    [
        ("shard", SHARD),
        ("timing", TIMING),
        ("profile", PROFILE),
        ("reuse", REUSE),
        ("mismatch", pa.string()),
        ("failure", pa.string()),
        ("fault", pa.string()),
        ("trace", pa.string()),
    ]
)
TABLES = ("rows", "texts", "reused", "checks")
"""Columns that hold a table: a large list of structs. They are there once a stage has made them."""
COUNTS = pa.struct(
    [
        (field.name, pa.float64() if field.type is float else pa.int64())
        for field in fields(ShardCounts)
    ]
)
RESULT = pa.schema(
    [
        ("shard_id", pa.string()),
        ("failure", pa.string()),
        ("fault", pa.string()),
        ("counts", COUNTS),
        ("trace", pa.string()),
    ]
)


def to_batch(item: ShardItem) -> pa.Table:
    """Lay an item out as one row."""
    values = {
        "shard": asdict(item.shard),
        "timing": asdict(item.timing),
        "profile": item.profile.model_dump(),
        "reuse": item.reuse.model_dump(),
        "mismatch": item.mismatch,
        "failure": item.failure,
        "fault": item.fault,
        "trace": item.trace,
    }
    batch = pa.Table.from_pylist([values], schema=ITEM)
    for name in TABLES:
        table = getattr(item, name)
        if table.num_columns:
            batch = batch.append_column(name, _as_list(table))
    return batch


def from_batch(batch: pa.Table) -> ShardItem:
    """Read what `to_batch` made; the tables are not copied."""
    (values,) = batch.select(ITEM.names).to_pylist(maps_as_pydicts="strict")
    values["shard"] = Shard(**values["shard"])
    values["timing"] = Timing(**values["timing"])
    values["profile"] = ShardProfile(**values["profile"])
    values["reuse"] = ReuseCounts(**values["reuse"])
    for name in TABLES:
        if name in batch.schema.names:
            values[name] = _as_table(batch[name])
    return ShardItem(**values)


def result_batch(result: ShardResult) -> pa.Table:
    """Lay a result out as one row of RESULT."""
    return pa.Table.from_pylist([asdict(result)], schema=RESULT)


def result_of(row: dict[str, Any]) -> ShardResult:
    """Read a row that `result_batch` made."""
    return ShardResult(**{**row, "counts": ShardCounts(**row["counts"])})


def _as_list(table: pa.Table) -> pa.LargeListArray:
    """Put a table, of which each column is one array, into one value."""
    arrays = [_one_array(column) for column in table.columns]
    structs = pa.StructArray.from_arrays(arrays, fields=list(table.schema))
    offsets = pa.array([0, table.num_rows], pa.int64())
    return pa.LargeListArray.from_arrays(offsets, structs)


def _as_table(column: pa.ChunkedArray) -> pa.Table:
    structs = _one_array(column).flatten()
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(structs)])


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks()

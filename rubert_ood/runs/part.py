"""What scoring writes: the schema of a part, of the rejected rows, and the order-free digest of ad
ids."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubert_ood.ads.schema import decoded
from rubert_ood.ads.text import text_key
from rubert_ood.ood.decision import OTHER

STATUS_OK = "ok"
STATUS_EMPTY = "empty"
"""The ad has no text after cleaning: labelled Other, no scores."""
DIGEST_MODULUS = 2**64

SCORE_FIELDS = [
    pa.field("label", pa.string()),
    pa.field("confidence", pa.float32()),
    pa.field("topk_labels", pa.list_(pa.string())),
    pa.field("topk_scores", pa.list_(pa.float32())),
    pa.field("is_ood", pa.bool_()),
    pa.field("ood_distance", pa.float64()),
    pa.field("ood_z", pa.float64()),
    pa.field("ood_p", pa.float64()),
]
"""What a text gets from the model."""
LENGTH_FIELDS = [
    pa.field("num_tokens", pa.int32()),
    pa.field("num_chunks", pa.int32()),
    pa.field("is_cut", pa.bool_()),
]
"""What was read of a text: tokens (special tokens once, overlaps once), windows, and whether its
end was left out."""

SUBHEAD_FIELDS = [
    pa.field("sub_label", pa.string()),
    pa.field("sub_confidence", pa.float32()),
]
"""The finer class inside the label and its probability; only where the bundle has sub-heads."""

SCORED_IN = pa.field("scored_in", pa.string())
"""Id of the run whose network computed the result: this one, or one that was reused."""

ERROR_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("ad_id", pa.string()),
        pa.field("reason", pa.string()),
    ]
)


def part_schema(
    carried: list[pa.Field],
    hidden_size: int | None,
    metadata: dict[str, str],
    *,
    subheads: bool = False,
) -> pa.Schema:
    """Return the schema of a part, fixed by bundle and settings; hidden_size adds the embedding
    column."""
    fields = [pa.field("ad_id", pa.string(), nullable=False), *SCORE_FIELDS]
    fields += [
        pa.field("status", pa.string()),
        *LENGTH_FIELDS,
        pa.field("text_key", pa.string()),
        SCORED_IN,
    ]
    fields += SUBHEAD_FIELDS if subheads else []
    if hidden_size is not None:
        fields.append(pa.field("embedding", pa.list_(pa.float16(), hidden_size)))
    return pa.schema(
        [*fields, *carried],
        {f"rubert_ood.{name}": value for name, value in metadata.items()},
    )


def unfold(scores: pa.Table, text_index: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Give each ad the result of its text, and its status.

    `scores` is what `Model.score` returns; text_index the row there of each ad. Where it is null
    there was nothing to read: the ad is Other, of no tokens, and has no scores.
    """
    empty = pc.is_null(text_index)
    taken = scores.take(text_index)  # a null index gives a row of nulls
    columns = {name: taken[name] for name in taken.schema.names}
    instead = {"label": OTHER, "is_ood": False, "text_key": text_key("")}
    instead |= {field.name: pa.scalar(0).cast(field.type) for field in LENGTH_FIELDS}
    for name, value in instead.items():
        columns[name] = pc.if_else(empty, value, columns[name])
    columns["status"] = pc.if_else(empty, STATUS_EMPTY, STATUS_OK)
    return pa.table(columns)


def ids_digest(ids: pa.ChunkedArray | pa.Array) -> int:
    """Sum a 64-bit hash over the ids, modulo 2**64; nulls, and ids that are not UTF-8, count
    nothing.

    The sum does not depend on the order, adds up over parts, and (unlike XOR) sees a doubled id.
    """
    values = np.array(
        [value for value in decoded(ids) if isinstance(value, str)], dtype=object
    )
    hashes = pd.util.hash_array(values, categorize=False)
    return int(np.add.reduce(hashes, dtype=np.uint64)) if len(hashes) else 0


def to_parquet(table: pa.Table) -> bytes:
    """Return the table as the bytes of one Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()

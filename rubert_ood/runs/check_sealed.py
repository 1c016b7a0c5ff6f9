"""Re-read a sealed file, and compare it with its seal and with the receipts of its parts."""

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import storage
from rubert_ood.errors import VerificationError
from rubert_ood.runs.check_part import (
    check_columns,
    check_conserved,
    check_origin,
    check_value,
    open_parquet,
    read_object,
    unreadable,
)
from rubert_ood.runs.part_counts import (
    COUNTED_COLUMNS,
    PART_COLUMNS,
    RowCounts,
    add_counts,
    row_counts,
)
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.seals import Group, Seal

BATCH_ROWS = 2**16


def check_sealed(plan: Plan, group: Group, seal: Seal) -> pa.ChunkedArray:
    """Check that a file has the rows of its parts, nothing lost, doubled or changed; return its ad
    ids. The file is in memory, and some of its rows decoded."""
    uri = storage.join(plan.run_uri, seal.path)
    data = read_object(uri)
    if hashlib.sha256(data).hexdigest() != seal.sha256:
        raise VerificationError(
            f"{uri}: the file changed after it was sealed (its sha256"
            " differs from the seal)"
        )
    parquet = open_parquet(uri, data)
    check_origin(uri, parquet, plan)
    ids, counts = [], []
    for piece in _pieces(uri, parquet):
        ids += piece["ad_id"].chunks
        counts.append(row_counts(piece))
    found, expected = add_counts(counts), add_counts(group.receipts)
    for name in RowCounts.model_fields:
        check_value(uri, name, getattr(found, name), getattr(expected, name))
    check_value(uri, "rows in its seal", seal.rows, expected.rows_scored)
    check_value(uri, "ids_out in its seal", seal.ids_out, expected.ids_out)
    for shard, receipt in zip(group.shards, group.receipts, strict=True):
        check_conserved(plan.part_uri(shard), shard, receipt)
    return pa.chunked_array(ids, pa.string())


def _pieces(uri: str, parquet: pq.ParquetFile) -> Iterator[pa.Table]:
    """Read what is counted, some rows at a time."""
    check_columns(uri, parquet, PART_COLUMNS)
    try:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=COUNTED_COLUMNS):
            yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise unreadable(uri, error) from error

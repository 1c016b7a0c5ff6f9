"""Bring the rows of each ad of two runs together with Ray Data.

Both are shuffled by a hash of the id, partitions are compared apart. `Dataset.join` would do, but
it needs polars. A keyed repartition of both runs together is the same shuffle without it: all rows
of an id come in one block, which Ray does not split. What does not fit the object store goes to
disk.
"""

from collections.abc import Iterator

import pyarrow as pa
import ray.data
import ray.exceptions
from ray.data.exceptions import ExecutionTimeoutError

from rubert_ood.comparing import whole_run
from rubert_ood.comparing.counts import ROW_SCHEMA, Counts, count_partition
from rubert_ood.comparing.whole_run import Piece, WholeRun, pieces, read_piece
from rubert_ood.errors import (
    InputError,
    PartialRunError,
    RubertOodError,
    StorageUnavailableError,
)
from rubert_ood.ray_session import TASK_RETRIES
from rubert_ood.traces import last_lines

READ_ROWS = 100_000
"""Rows that one task reads, at least: the parts of an older run are much smaller."""
SHUFFLE_BYTES = 2**27
"""What one task of the shuffle holds, about; Ray's default is a GiB."""
FAILURE = "failure"
SHUFFLED_SCHEMA = ROW_SCHEMA.append(pa.field(FAILURE, pa.string()))
PIECE = pa.struct({"uri": pa.string(), "start": pa.int64(), "stop": pa.int64()})
READ_SCHEMA = pa.schema({"pieces": pa.list_(PIECE), "in_b": pa.bool_()})


def partitions(a: WholeRun, b: WholeRun) -> Iterator[Counts]:
    """Yield the counts of each partition as they come; Ray must have been started.

    Raises InputError for a part that is missing or unreadable, PartialRunError when the cluster or
    storage failed.
    """
    reads = [*_reads(a, in_b=False), *_reads(b, in_b=True)]
    if not reads:
        return
    results = (
        ray.data.from_arrow(reads)
        .map_batches(_read, batch_size=None, batch_format="pyarrow", **TASK_RETRIES)
        .repartition(whole_run.num_partitions(a, b), keys=["ad_id"])
        .map_batches(_count, batch_size=None, batch_format="pyarrow", **TASK_RETRIES)
    )
    results.context.shuffle_input_batch_bytes = SHUFFLE_BYTES
    try:
        for result in results.iter_rows():
            if result[FAILURE]:
                kind, _, reason = result[FAILURE].partition(": ")
                raise (StorageUnavailableError if kind == "storage" else InputError)(
                    reason
                )
            yield Counts.model_validate_json(result["counts"])
    except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
        raise PartialRunError(
            "the comparison stopped. Run the same command again. Ray says:"
            f" {last_lines(error)[-1]}"
        ) from error


def _reads(run: WholeRun, *, in_b: bool) -> Iterator[pa.Table]:
    """Group the pieces of a run into reads of about READ_ROWS, one row each."""
    read, num_rows = list[dict[str, str | int | None]](), 0
    for piece, rows in pieces(run):
        read.append(piece._asdict())
        num_rows += rows
        if num_rows >= READ_ROWS:
            yield pa.table({"pieces": [read], "in_b": [in_b]}, schema=READ_SCHEMA)
            read, num_rows = [], 0
    if read:
        yield pa.table({"pieces": [read], "in_b": [in_b]}, schema=READ_SCHEMA)


def _read(batch: pa.Table) -> Iterator[pa.Table]:
    """Read the pieces that a row names.

    A failure travels on as a row: through Ray it would lose its class.
    """
    for read in batch.to_pylist():
        for piece in read["pieces"]:
            try:
                rows = read_piece(Piece(**piece), in_b=read["in_b"])
            except RubertOodError as error:
                kind = "storage" if isinstance(error, PartialRunError) else "input"
                yield _failed(f"{kind}: {error}")
            else:
                yield rows.append_column(FAILURE, pa.nulls(rows.num_rows, pa.string()))


def _failed(reason: str) -> pa.Table:
    absent = {name: [None] for name in ROW_SCHEMA.names}
    row = absent | {"ad_id": [""], FAILURE: [reason]}
    return pa.table(row, schema=SHUFFLED_SCHEMA)


def _count(rows: pa.Table) -> pa.Table:
    failures = rows[FAILURE].drop_null()
    if len(failures):
        return pa.table({"counts": [""], FAILURE: [failures[0].as_py()]})
    counts = count_partition(rows.select(ROW_SCHEMA.names))
    return pa.table({"counts": [counts.model_dump_json(by_alias=True)], FAILURE: [""]})

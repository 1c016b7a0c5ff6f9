"""Join two runs by ad id in bounded memory: Ray Data shuffles both by a hash of the id, partitions
are compared apart.

`Dataset.join` would do, but it needs polars. A keyed repartition of both runs together is the same
shuffle without it: all rows of an id come in one block, which Ray does not split. What does not fit
the object store goes to disk.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray.data
import ray.exceptions
from ray.data.exceptions import ExecutionTimeoutError

from rubert_ood import storage
from rubert_ood.ads.tables import read_rows
from rubert_ood.comparing.counts import (
    ROW_SCHEMA,
    add_partition,
    count_partition,
    summary,
)
from rubert_ood.errors import (
    InputError,
    PartialRunError,
    RubertOodError,
    StorageUnavailableError,
    VerificationError,
)
from rubert_ood.progress import Progress
from rubert_ood.ray_session import TASK_RETRIES
from rubert_ood.runs.manifest import Manifest, read_manifest
from rubert_ood.runs.plan import load_plan
from rubert_ood.runs.receipts import read_receipts

log = logging.getLogger(__name__)

PARTITION_ROWS = 200_000
"""Rows of both runs in one partition, about: some 20 MB, and a few times that while they are
compared."""
READ_ROWS = 100_000
"""Rows that one task reads: parts are much smaller on CPU."""
SHUFFLE_BYTES = 2**27
"""What one task of the shuffle holds, about; Ray's default is a GiB."""
WHOLE = ("complete", "refused", "published", "rolled_back")
FAILURE = "failure"
SHUFFLED_SCHEMA = ROW_SCHEMA.append(pa.field(FAILURE, pa.string()))


@dataclass(frozen=True)
class Run:
    """A run with all its parts, in the order of the plan."""

    uri: str
    manifest: Manifest
    parts: list[tuple[str, int]]
    """URI and rows of each part: those with a receipt; whatever else lies in the folder is none."""

    @property
    def num_rows(self) -> int:
        return sum(rows for _, rows in self.parts)


def read_run(run_uri: str) -> Run:
    """Read what a run folder says of its parts; InputError when the run has not been scored to its
    end."""
    plan = load_plan(run_uri)
    manifest = read_manifest(plan.run_uri)
    if not manifest.is_whole:
        raise InputError(
            f"{plan.run_uri}: this run is not complete (outcome {manifest.outcome}); finish it"
            " first"
        )
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    parts = [
        (storage.join(plan.run_uri, shard.part_name), receipts[shard.shard_id].rows_scored)
        for shard in plan.shards
        if shard.shard_id in receipts
    ]
    run, expected = Run(plan.run_uri, manifest, parts), manifest.counts.rows_scored
    if run.num_rows != expected:
        raise VerificationError(
            f"{plan.run_uri}: its receipts have {run.num_rows} rows, its manifest {expected}: run"
            " verify on it"
        )
    return run


def diff_runs(a: Run, b: Run) -> dict[str, Any]:
    """Compare two runs ad by ad, as `scoring.diff.summary` describes it; Ray must have been
    started.

    Raises InputError for a part that is missing or unreadable, PartialRunError when the cluster or
    storage failed.
    """
    total: dict[str, Any] = {}
    progress = Progress("diff", a.num_rows + b.num_rows, "rows")
    for part in partitions(a, b):
        progress.add(sum(part["rows"].values()))
        total = add_partition(total, part)
    total = total or count_partition(ROW_SCHEMA.empty_table())
    for run, rows in ((a, total["rows"]["a"]), (b, total["rows"]["b"])):
        if rows != run.num_rows:
            raise VerificationError(
                f"{run.uri}: {rows} rows were compared, its receipts say {run.num_rows}; run verify"
            )
    return summary(total)


def partitions(a: Run, b: Run) -> Iterator[dict[str, Any]]:
    """Yield the counts of each partition as they come, each a `count_partition`."""
    reads = [*_reads(a, in_b=False), *_reads(b, in_b=True)]
    if not reads:
        return
    num_partitions = -(-max(a.num_rows + b.num_rows, 1) // PARTITION_ROWS)
    results = (
        ray.data.from_items(reads, override_num_blocks=len(reads))
        .map_batches(_read, batch_size=None, batch_format="pyarrow", **TASK_RETRIES)
        .repartition(num_partitions, keys=["ad_id"])
        .map_batches(_count, batch_size=None, batch_format="pyarrow", **TASK_RETRIES)
    )
    results.context.shuffle_input_batch_bytes = SHUFFLE_BYTES
    try:
        for result in results.iter_rows():
            if result[FAILURE]:
                kind, _, reason = result[FAILURE].partition(": ")
                raise (StorageUnavailableError if kind == "storage" else InputError)(reason)
            yield json.loads(result["counts"])
    except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
        raise PartialRunError(
            "the comparison stopped, the same command repeats it:"
            f" {' '.join(str(error).split())[-500:]}"
        ) from error


def _reads(run: Run, *, in_b: bool) -> Iterator[dict[str, Any]]:
    """Group the parts of a run into reads of about READ_ROWS."""
    uris, num_rows = list[str](), 0
    for uri, rows in run.parts:
        uris.append(uri)
        num_rows += rows
        if num_rows >= READ_ROWS:
            yield {"uris": json.dumps(uris), "in_b": in_b}
            uris, num_rows = [], 0
    if uris:
        yield {"uris": json.dumps(uris), "in_b": in_b}


def _read(batch: pa.Table) -> Iterator[pa.Table]:
    """Read the parts that a row names. A failure travels on as a row: through Ray it would lose its
    class."""
    columns = [name for name in ROW_SCHEMA.names if name != "in_b"]
    for read in batch.to_pylist():
        for uri in json.loads(read["uris"]):
            try:
                table = read_rows(uri, columns)
                table = table.append_column(
                    "in_b", pa.repeat(pa.scalar(read["in_b"]), table.num_rows)
                )
                yield table.append_column(FAILURE, pa.nulls(table.num_rows, pa.string())).cast(
                    SHUFFLED_SCHEMA
                )
            except (RubertOodError, KeyError) as error:
                kind = "storage" if isinstance(error, PartialRunError) else "input"
                reason = (
                    f"{kind}: {uri}: no column {error}"
                    if isinstance(error, KeyError)
                    else f"{kind}: {error}"
                )
                failed = {name: [None] for name in ROW_SCHEMA.names} | {
                    "ad_id": [""],
                    FAILURE: [reason],
                }
                yield pa.table(failed, schema=SHUFFLED_SCHEMA)


def _count(rows: pa.Table) -> pa.Table:
    failures = rows[FAILURE].drop_null()
    if len(failures):
        return pa.table({"counts": [""], FAILURE: [failures[0].as_py()]})
    counts = count_partition(rows.select(ROW_SCHEMA.names))
    return pa.table({"counts": [json.dumps(counts, ensure_ascii=False)], FAILURE: [""]})

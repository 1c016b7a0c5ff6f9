"""A run that was scored to its end, and the rows of its parts that a comparison looks at."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from rubert_ood import storage
from rubert_ood.ads.tables import read_rows
from rubert_ood.comparing.counts import ROW_SCHEMA
from rubert_ood.comparing.document import Side
from rubert_ood.errors import InputError, VerificationError
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.runs.plan import load_plan
from rubert_ood.runs.receipts import read_receipts

PARTITION_ROWS = 200_000
"""Rows of both runs in one partition, about: some 20 MB, and a few times that while they are
compared."""
COLUMNS = [name for name in ROW_SCHEMA.names if name != "in_b"]


@dataclass(frozen=True)
class WholeRun:
    """A run with all its parts, in the order of the plan."""

    side: Side
    parts: list[tuple[str, int]]
    """URI and rows of each part: those with a receipt; whatever else lies in the folder is none."""

    @property
    def num_rows(self) -> int:
        """Scored rows, by the manifest."""
        return self.side.rows


def read_run(run_uri: str) -> WholeRun:
    """Read what a run folder says of its parts.

    Raises InputError when the run has not been scored to its end, VerificationError when its
    receipts have other rows than its manifest.
    """
    plan = load_plan(run_uri)
    manifest = read_manifest(plan.run_uri)
    if not manifest.is_whole:
        raise InputError(
            f"{plan.run_uri}: this run is not complete (outcome {manifest.outcome});"
            " finish it first"
        )
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    parts = []
    for shard in plan.shards:
        if shard.shard_id in receipts:
            rows = receipts[shard.shard_id].rows_scored
            parts.append((storage.join(plan.run_uri, shard.part_name), rows))
    num_rows, expected = sum(rows for _, rows in parts), manifest.counts.rows_scored
    if num_rows != expected:
        raise VerificationError(
            f"{plan.run_uri}: its receipts have {num_rows} rows, its manifest {expected}:"
            " run verify on it"
        )
    side = Side(
        rows=num_rows,
        run_uri=manifest.run_uri,
        run_id=manifest.run_id,
        run_date=manifest.run_date,
        bundle=manifest.bundle,
        outcome=manifest.outcome,
    )
    return WholeRun(side, parts)


def read_part(uri: str, *, in_b: bool) -> pa.Table:
    """Read what is compared of a part, in ROW_SCHEMA.

    Raises InputError for a part that is missing or unreadable, StorageUnavailableError.
    """
    try:
        table = read_rows(uri, COLUMNS)
    except KeyError as error:
        raise InputError(f"{uri}: no column {error}") from error
    side = pa.repeat(pa.scalar(in_b), table.num_rows)
    return table.append_column("in_b", side).cast(ROW_SCHEMA)


def num_partitions(a: WholeRun, b: WholeRun) -> int:
    """Say how many shuffle buckets hold both runs, each in bounded memory."""
    return -(-max(a.num_rows + b.num_rows, 1) // PARTITION_ROWS)


def all_parts(a: WholeRun, b: WholeRun) -> Iterator[tuple[str, bool]]:
    """Yield URI of each part of both runs, and whether it is one of B."""
    for run, in_b in ((a, False), (b, True)):
        for uri, _ in run.parts:
            yield uri, in_b

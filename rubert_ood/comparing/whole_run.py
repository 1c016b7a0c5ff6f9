"""A run that was scored to its end, and the rows of its files that a comparison looks at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from rubert_ood import storage
from rubert_ood.ads.tables import read_rows
from rubert_ood.comparing.counts import ROW_SCHEMA
from rubert_ood.comparing.document import Side
from rubert_ood.errors import InputError, VerificationError
from rubert_ood.runs.manifest import Manifest, read_manifest
from rubert_ood.runs.plan import Plan, load_plan
from rubert_ood.runs.receipts import read_receipts

PARTITION_ROWS = 200_000
"""Rows of both runs in one partition, about: some 20 MB, and a few times that while they are
compared."""
PIECE_ROWS = 2**17
"""Rows of a file that are read at a time: a row group of a sealed file."""
COLUMNS = [name for name in ROW_SCHEMA.names if name != "in_b"]


@dataclass(frozen=True)
class WholeRun:
    """A run with all its files, in the order of the plan."""

    side: Side
    files: list[tuple[str, int]]
    """URI and rows of each file: the sealed ones, in an older run the parts that have a receipt;
    whatever else lies in the folder is none."""

    @property
    def num_rows(self) -> int:
        """Scored rows, by the manifest."""
        return self.side.rows


class Piece(NamedTuple):
    """Some rows of a file."""

    uri: str
    start: int
    stop: int | None
    """None: to its end."""


def read_run(run_uri: str) -> WholeRun:
    """Read what a run folder says of its files.

    Raises InputError when the run has not been scored to its end, VerificationError when its files
    have other rows than its manifest counts.
    """
    plan = load_plan(run_uri)
    manifest = read_manifest(plan.run_uri)
    if not manifest.is_whole:
        raise InputError(
            f"{plan.run_uri}: this run is not complete (outcome"
            f" {manifest.outcome}). Run its `score` command again to finish"
            " it"
        )
    files, source = _sealed_files(manifest), "files"
    if not plan.is_sealed:
        files, source = _parts(plan), "receipts"
    num_rows, expected = sum(rows for _, rows in files), manifest.counts.rows_scored
    if num_rows != expected:
        raise VerificationError(
            f"{plan.run_uri}: the {source} have {num_rows:,} rows, but the"
            f" manifest counts {expected:,}. Run `rubert-ood verify` on this"
            " run"
        )
    side = Side(
        rows=num_rows,
        run_uri=manifest.run_uri,
        run_id=manifest.run_id,
        run_date=manifest.run_date,
        bundle=manifest.bundle,
        outcome=manifest.outcome,
    )
    return WholeRun(side, files)


def _sealed_files(manifest: Manifest) -> list[tuple[str, int]]:
    return [
        (storage.join(manifest.run_uri, file.path), file.rows) for file in manifest.files
    ]


def _parts(plan: Plan) -> list[tuple[str, int]]:
    """Return the parts of an older run by its receipts: the first manifests tell no rows."""
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    parts = []
    for shard in plan.shards:
        if shard.shard_id in receipts:
            parts.append((plan.part_uri(shard), receipts[shard.shard_id].rows_scored))
    return parts


def read_piece(piece: Piece, *, in_b: bool) -> pa.Table:
    """Read what is compared of some rows, in ROW_SCHEMA.

    Raises InputError for a file that is missing or unreadable, StorageUnavailableError.
    """
    try:
        table = read_rows(piece.uri, COLUMNS, start=piece.start, stop=piece.stop)
    except KeyError as error:
        raise InputError(
            f"{piece.uri}: the file has no column {error}. Run `rubert-ood"
            " verify` on its run"
        ) from error
    side = pa.repeat(pa.scalar(in_b), table.num_rows)
    return table.append_column("in_b", side).cast(ROW_SCHEMA)


def num_partitions(a: WholeRun, b: WholeRun) -> int:
    """Say how many shuffle buckets hold both runs, each in bounded memory."""
    return -(-max(a.num_rows + b.num_rows, 1) // PARTITION_ROWS)


def all_pieces(a: WholeRun, b: WholeRun) -> Iterator[tuple[Piece, bool]]:
    """Yield the rows of both runs, piece by piece, and whether they are those of B."""
    for run, in_b in ((a, False), (b, True)):
        for piece, _ in pieces(run):
            yield piece, in_b


def pieces(run: WholeRun) -> Iterator[tuple[Piece, int]]:
    """Yield each file in pieces of at most PIECE_ROWS, and their rows; the last one reads to the
    end of the file, so that rows too many are counted."""
    for uri, num_rows in run.files:
        for start in range(0, max(num_rows, 1), PIECE_ROWS):
            stop = start + PIECE_ROWS
            is_last = stop >= num_rows
            rows = num_rows - start if is_last else PIECE_ROWS
            yield Piece(uri, start, None if is_last else stop), rows

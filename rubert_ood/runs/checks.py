"""What is read again of a run: each sealed file and all rejected rows; of version 0.4.0 and before
each part instead of the files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from rubert_ood import storage
from rubert_ood.runs.check_part import check_part, check_rejected
from rubert_ood.runs.check_sealed import check_sealed
from rubert_ood.runs.duplicate_ids import IDS_SCHEMA
from rubert_ood.runs.part_counts import COUNTED_COLUMNS
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import Receipt
from rubert_ood.runs.seals import Group, Seal


@dataclass(frozen=True)
class Check:
    """Something to be read again, of one shard or of one sealed file."""

    owner: str
    """Id of the shard, or path of the file."""
    rows: int
    ids: Callable[[], pa.Table]
    """Raises VerificationError, or returns its ad ids, in IDS_SCHEMA."""


def shard_checks(plan: Plan, receipts: Mapping[str, Receipt]) -> Iterator[Check]:
    """Yield what is checked of each shard: its rejected rows, in an older run also its part."""

    def check(number: int, receipt: Receipt) -> pa.Table:
        shard = plan.shards[number]
        check_rejected(plan, shard, receipt)
        if plan.is_sealed:
            return IDS_SCHEMA.empty_table()
        part = check_part(plan, shard, receipt, COUNTED_COLUMNS)
        return _numbered(part["ad_id"], [number], [part.num_rows])

    for number, shard in enumerate(plan.shards):
        receipt = receipts.get(shard.shard_id)
        if receipt and (receipt.rows_rejected or not plan.is_sealed):
            rows = 0 if plan.is_sealed else shard.num_rows
            yield Check(shard.shard_id, rows, partial(check, number, receipt))


def file_checks(plan: Plan, sealed: Sequence[tuple[Group, Seal]]) -> Iterator[Check]:
    """Yield what is checked of each sealed file: all of it. Who takes one after the other has the
    receipts of few files in memory."""

    def check(number: int, group: Group, seal: Seal) -> pa.Table:
        ids = check_sealed(plan, group, seal)
        if plan.sort_by != "none":
            return _numbered(ids, [number], [len(ids)])
        rows = [receipt.rows_scored for receipt in group.receipts]
        return _numbered(ids, group.places, rows)

    for number, (group, seal) in enumerate(sealed):
        yield Check(group.path, seal.rows, partial(check, number, group.loaded(), seal))


def _numbered(ids: pa.ChunkedArray, numbers: list[int], rows: list[int]) -> pa.Table:
    """Put beside each id where it comes from, as a place in `sources`."""
    return pa.table([ids, np.repeat(numbers, rows)], schema=IDS_SCHEMA)


def sources(plan: Plan, paths: list[str]) -> list[str]:
    """Return the files that duplicate ids are named with: of the input, or where the rows of an
    output file are sorted, of the output."""
    if plan.sort_by == "none":
        return [shard.uri for shard in plan.shards]
    return [storage.join(plan.run_uri, path) for path in paths]

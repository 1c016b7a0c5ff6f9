"""Which files a run folder must hold, and which it may not: whatever a reader would take for ads is
a sealed file of the run, or in runs of version 0.4.0 and before a part.

DuckDB takes every `**/*.parquet`, hidden or not; Spark and pyarrow take every file, whatever its
name, in which no name begins with `_` or `.`.
"""

import re
from collections.abc import Collection, Mapping

from rubert_ood.errors import VerificationError
from rubert_ood.plain import count_of
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import Receipt
from rubert_ood.storage.listing import Listing, list_below

PARQUET_NAME = re.compile(r".*\.(parquet|parq|pq)", re.IGNORECASE | re.DOTALL)
ERRORS = "_errors"


def missing_files(
    plan: Plan, receipts: Mapping[str, Receipt], sealed: Collection[str] = ()
) -> dict[str, str]:
    """Return a line for each sealed file that is not there, and for each shard whose rejected rows,
    or in an older run whose part, are not; by the path of the file, and by the id of the shard.

    `sealed` are the paths of the sealed files. Raises VerificationError that names, below the run
    folder, a file which is not of the run. Rejected rows of a shard that was quarantined after they
    were written are of the run, and nothing counts them.
    """
    listing = list_below(plan.run_uri)
    present = {listing.inner(file.uri) for file in listing.files}
    expected, spare = {path: path for path in sealed}, set[str]()
    for shard in plan.shards:
        receipt = receipts.get(shard.shard_id)
        if receipt is None:
            spare.add(shard.rejected_name)
            continue
        if not plan.is_sealed:
            expected[shard.older_part_name] = shard.shard_id
        if receipt.rows_rejected:
            is_older = not plan.is_sealed and shard.older_rejected_name in present
            name = shard.older_rejected_name if is_older else shard.rejected_name
            expected[name] = shard.shard_id
    _refuse_others(plan.run_uri, _all_names(listing) - spare, expected)
    return {
        owner: f"{plan.run_uri}: {name} is missing"
        for name, owner in expected.items()
        if name not in present
    }


def _all_names(listing: Listing) -> set[str]:
    names = {*(file.uri for file in listing.files), *listing.unreadable, *listing.loops}
    return {listing.inner(name) for name in names}


def _refuse_others(run_uri: str, names: set[str], expected: Mapping[str, str]) -> None:
    others = sorted(filter(_is_read, names - expected.keys()))
    if others:
        raise VerificationError(
            f"{run_uri}: {others[0]} is not a file of this run"
            f" ({count_of(len(others), 'file')} in all). Remove it"
        )


def _is_read(name: str) -> bool:
    """Say whether some reader would take a file for ads, or for rejected rows."""
    *folders, last = name.split("/")
    is_hidden = last.startswith(".")  # a lock, or what is being written
    if folders == [ERRORS] and not is_hidden:
        return True
    is_visible = not any(part.startswith(("_", ".")) for part in (*folders, last))
    return is_visible or PARQUET_NAME.fullmatch(name) is not None

"""The sealed files of a run, each with the parts that it was sealed from.

Where a seal or the layout is lost, the manifest of a run that was whole says the same: the parts of
a published run are gone, so that nothing can be sealed again.
"""

import re
from collections.abc import Mapping, Sequence

from rubert_ood.errors import PartialRunError, RubertOodError, VerificationError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.runs.manifest import find_manifest
from rubert_ood.runs.part_counts import add_counts
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import Receipt
from rubert_ood.runs.seals import (
    DataFile,
    Group,
    Layout,
    Seal,
    find_layout,
    group_parts,
    read_seals,
)
from rubert_ood.runs.shard_sums import sum_shards

log = StepLog("verify")
FILE_NAME = re.compile(r"data-(\d+)-of-(\d+)\.parquet")
READERS_SAW = ("published", "rolled_back")
"""Outcomes of a run in which nothing is scored or sealed again."""


def read_sealed(plan: Plan, receipts: Mapping[str, Receipt]) -> list[tuple[Group, Seal]]:
    """Return the sealed files; PartialRunError when some are not sealed, VerificationError when
    they never will be."""
    layout = find_layout(plan)
    groups = group_parts(plan, receipts, layout) if layout else []
    seals = read_seals(plan, groups)
    is_lost = bool(receipts) and layout is None
    if is_lost or len(seals) < len(groups):
        noted = _noted(plan, receipts, layout)
        if noted:
            num_lost = sum(group.path not in seals for group, _ in noted)
            some = "the layout" if is_lost else count_of(num_lost, "seal")
            log.warning("%s: lost %s, goes by the manifest", plan.run_uri, some)
            return [(group, seals.get(group.path, seal)) for group, seal in noted]
        num_missing = len(groups) - len(seals)
        some = "the" if is_lost else f"{num_missing} of {len(groups)}"
        raise not_whole(plan, f"{some} files are not sealed")
    return [(group, seals[group.path]) for group in groups]


def not_whole(plan: Plan, what: str) -> RubertOodError:
    """Return the error of a run of which something is missing: what to do depends on whether
    readers have seen it."""
    manifest = find_manifest(plan.run_uri)
    if manifest and manifest.outcome in READERS_SAW:
        return VerificationError(
            f"{plan.run_uri}: {what}, which a published run cannot mend. Run"
            " `rollback` if readers see this run, then score under another"
            " run_id"
        )
    return PartialRunError(
        f"{plan.run_uri}: {what}. Run its `score` command again to resume"
    )


def _noted(
    plan: Plan, receipts: Mapping[str, Receipt], layout: Layout | None
) -> list[tuple[Group, Seal]]:
    """Return the files as the manifest lists them; none if it is of other parts, or of none yet."""
    manifest = find_manifest(plan.run_uri)
    if manifest is None or not manifest.is_whole or not manifest.files:
        return []
    ordered = (receipts.get(shard.shard_id) for shard in plan.shards)
    parts = sum_shards(receipt for receipt in ordered if receipt).parts_sha256
    if (manifest.fingerprint, manifest.parts_sha256) != (plan.fingerprint, parts):
        return []
    layout = layout or _layout_of(plan, receipts, manifest.files)
    groups = group_parts(plan, receipts, layout) if layout else []
    found = [(group.path, group.num_rows) for group in groups]
    if found != [(file.path, file.rows) for file in manifest.files]:
        return []
    pairs = zip(groups, manifest.files, strict=True)
    return [(group, _seal_of(plan, group, file)) for group, file in pairs]


def _seal_of(plan: Plan, group: Group, file: DataFile) -> Seal:
    return Seal(
        path=file.path,
        sha256=file.sha256,
        rows=file.rows,
        bytes=file.bytes,
        fingerprint=plan.fingerprint,
        start=group.start,
        stop=group.stop,
        ids_out=add_counts(group.receipts).ids_out,
        parts=group.parts,
    )


def _layout_of(
    plan: Plan, receipts: Mapping[str, Receipt], files: Sequence[DataFile]
) -> Layout | None:
    """Cut the shards anew by the rows of each file; None if the files have other names.

    Between two files shards without a row may have been in either: they change none of both. A file
    that is not listed gets no shard.
    """
    starts: list[int] = []
    place = num_files = 0
    for file in files:
        name = FILE_NAME.fullmatch(file.path)
        if name is None:
            return None
        number, num_files = int(name[1]), int(name[2])
        starts += [place] * (number + 1 - len(starts))
        rows, is_begun = 0, False
        while place < len(plan.shards) and (rows < file.rows or not is_begun):
            receipt = receipts.get(plan.shards[place].shard_id)
            if receipt:
                rows, is_begun = rows + receipt.rows_scored, True
            place += 1
    starts += [len(plan.shards)] * (num_files - len(starts))
    return Layout(fingerprint=plan.fingerprint, starts=starts)

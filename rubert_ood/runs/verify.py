"""Re-read a run and compare it with its receipts and its plan: nothing lost, nothing doubled,
nothing changed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from rubert_ood.clock import utc_now
from rubert_ood.errors import PartialRunError, VerificationError
from rubert_ood.plain import count_of
from rubert_ood.progress import Progress
from rubert_ood.runs.ahead import map_ahead
from rubert_ood.runs.checks import Check, file_checks, shard_checks, sources
from rubert_ood.runs.duplicate_ids import Duplicates, find_duplicates
from rubert_ood.runs.files import missing_files
from rubert_ood.runs.manifest import Manifest, find_manifest, manifest_uri
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import (
    QuarantinedShard,
    Receipt,
    read_quarantine,
    read_receipts,
)
from rubert_ood.runs.reuse import find_stop
from rubert_ood.runs.sealed import not_whole, read_sealed
from rubert_ood.runs.seals import DataFile

FILES_AT_ONCE = 2
"""Reading a file hides behind checking another; more of them would only fill memory."""
COMPARED = {
    "counts",
    "ids_in",
    "ids_out",
    "ids_rejected",
    "classes",
    "rejected_reasons",
    "confidence_histogram",
    "token_histogram",
    "cities",
    "top_ood",
    "quarantined_shards",
    "parts_sha256",
    "shards_sha256",
    "files",
}
"""What a manifest must say alike when it is made again from the receipts."""


KEPT = (
    *("started_at", "finished_at", "elapsed_s", "rows_per_s"),
    *("cost", "index", "estimates", "tables"),
)
"""What a manifest that is made again takes from the one before, while the parts are the same."""


@dataclass(frozen=True)
class VerifiedRun:
    """The records of a run that agree with its files."""

    receipts: Mapping[str, Receipt]
    quarantined: Mapping[str, QuarantinedShard]
    duplicates: Duplicates
    files: list[DataFile]
    """What readers take."""


class PartMismatchError(VerificationError):
    """Some parts, or rejected rows, are missing or do not match their receipts; scoring those
    shards mends it."""

    def __init__(self, message: str, shard_ids: list[str]) -> None:
        """Keep the shards, beside the message."""
        super().__init__(message)
        self.shard_ids = shard_ids


class SealMismatchError(VerificationError):
    """Some sealed files are missing or do not match their seals; sealing them again mends it, while
    their parts are there."""

    def __init__(self, message: str, paths: list[str]) -> None:
        """Keep the files, by their paths below the run folder, beside the message."""
        super().__init__(message)
        self.paths = paths


def verify_run(plan: Plan, receipts: Mapping[str, Receipt] | None = None) -> VerifiedRun:
    """Check sealed files and rejected rows against receipts, and receipts against the plan.

    Of a run of version 0.4.0 and before parts are checked in the place of sealed files.

    `receipts` may be given by who has read them. Raises PartialRunError when shards are missing or
    files not sealed, VerificationError that names an object which belongs to no shard,
    PartMismatchError or SealMismatchError that names the first part or file which is missing, of
    another run, or not as it was written.
    """
    if receipts is None:
        receipts = read_receipts(plan.run_uri, plan.fingerprint)
    quarantined = check_settled(plan, receipts)
    sealed = read_sealed(plan, receipts) if plan.is_sealed else []
    paths = [group.path for group, _ in sealed]
    problems = missing_files(plan, receipts, paths)
    todo = chain(shard_checks(plan, receipts), file_checks(plan, sealed))
    checks = filter(lambda one: one.owner not in problems, todo)
    ids = _checked_ids(checks, _num_rows(plan, receipts), problems)
    duplicates = find_duplicates(ids, sources(plan, paths))
    _raise_problems(problems, paths)
    files = [seal.data_file for _, seal in sealed]
    if not plan.is_sealed:
        files = _parts(plan, receipts)
    return VerifiedRun(receipts, quarantined, duplicates, files)


def _parts(plan: Plan, receipts: Mapping[str, Receipt]) -> list[DataFile]:
    """Return the parts of an older run, as its manifest would list them."""
    files = []
    for shard in plan.shards:
        receipt = receipts.get(shard.shard_id)
        if receipt:
            path, sha256 = shard.older_part_name, receipt.part_sha256
            files.append(DataFile(path=path, sha256=sha256, rows=receipt.rows_scored))
    return files


def check_settled(
    plan: Plan, receipts: Mapping[str, Receipt]
) -> dict[str, QuarantinedShard]:
    """Return the quarantined shards; PartialRunError when some are neither scored nor that, in a
    published run VerificationError."""
    found = read_quarantine(plan.run_uri, plan.fingerprint)
    quarantined = {name: found[name] for name in sorted(found.keys() - receipts.keys())}
    num_missing = sum(
        shard.shard_id not in receipts and shard.shard_id not in quarantined
        for shard in plan.shards
    )
    if num_missing:
        raise not_whole(
            plan, f"{num_missing:,} of {len(plan.shards):,} shards are not scored"
        )
    return quarantined


def _num_rows(plan: Plan, receipts: Mapping[str, Receipt]) -> int:
    """Count the rows of the shards that have receipts."""
    return sum(shard.num_rows for shard in plan.shards if shard.shard_id in receipts)


def _checked_ids(
    todo: Iterable[Check], num_rows: int, problems: dict[str, str]
) -> Iterator[pa.Table]:
    """Check one thing after the other, with few in memory; yield their ad ids and collect what is
    wrong in `problems`."""
    progress = Progress("verify", num_rows, "ads")

    def check(one: Check) -> tuple[Check, pa.Table | str]:
        try:
            return one, one.ids()
        except VerificationError as error:
            return one, str(error)

    for one, outcome in map_ahead(check, todo, at_once=FILES_AT_ONCE):
        progress.add(one.rows)
        if isinstance(outcome, str):
            problems[one.owner] = outcome
        else:
            yield outcome


def _raise_problems(problems: dict[str, str], paths: list[str]) -> None:
    """Raise for the shards first: what is scored again is sealed again."""
    if not problems:
        return
    shard_ids = [owner for owner in problems if owner not in paths]
    first = problems[shard_ids[0]] if shard_ids else next(iter(problems.values()))
    message = f"{first} ({count_of(len(problems), 'problem')} in all)"
    if shard_ids:
        raise PartMismatchError(message, shard_ids)
    raise SealMismatchError(message, list(problems))


def complete_manifest(
    plan: Plan, verified: VerifiedRun, started_at: str = ""
) -> Manifest:
    """Make the manifest of a run whose shards are all settled.

    It keeps its times while its parts are the same: a run that is only verified again is not newer.
    """
    noted = find_manifest(plan.run_uri)
    counted = Manifest.of(
        plan,
        verified.receipts,
        outcome="complete",
        started_at=started_at or (noted.started_at if noted else utc_now()),
        quarantined=verified.quarantined,
        duplicates=verified.duplicates,
        files=verified.files,
    )
    stop = find_stop(plan.run_uri) if plan.reuse else None
    if stop is not None and counted.counts.texts_reused:  # since the receipts were read
        raise PartialRunError(
            f"{plan.run_uri}: the check of reused results stopped reuse. Run"
            " the same command again to score the rest"
        )
    manifest = counted.model_copy(update={"reuse_stop": stop})
    if noted is None or noted.parts_sha256 != manifest.parts_sha256:
        return manifest
    return manifest.model_copy(update={name: getattr(noted, name) for name in KEPT})


def check_manifest(found: Manifest, recomputed: Manifest) -> None:
    """Raise VerificationError when a manifest says something else than the receipts."""
    noted, counted = _comparable(found), _comparable(recomputed)
    for name in counted:
        if noted[name] != counted[name]:
            raise VerificationError(
                f"{manifest_uri(recomputed.run_uri)}: {name} differs from"
                " what the receipts add up to. Restore the manifest"
            )


def _comparable(manifest: Manifest) -> dict[str, object]:
    return manifest.model_dump(include=COMPARED)

"""Seal the files of a run that have no seal yet, here or on the cluster."""

from collections.abc import Collection, Iterator, Mapping
from functools import partial

from rubert_ood import interrupts
from rubert_ood.errors import PartialRunError
from rubert_ood.plain import count_of
from rubert_ood.progress import Progress, StepLog
from rubert_ood.ray_session import ray_session
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import Receipt
from rubert_ood.runs.seals import Group, group_parts, read_seals
from rubert_ood.runs.verify import PartMismatchError, check_settled
from rubert_ood.sealing.layout import settled_layout
from rubert_ood.sealing.seal import SealJob, SealResult, seal_file
from rubert_ood.settings import RunSettings

log = StepLog("seal")


def seal_run(
    plan: Plan,
    receipts: Mapping[str, Receipt],
    settings: RunSettings,
    claim: Claim,
    again: Collection[str] = (),
) -> None:
    """Seal what has no seal, and the files named in `again`.

    Raises PartialRunError when shards are not scored, when storage or the cluster fails, or when
    another start has claimed the run by now; what is sealed stays sealed, and the same call
    resumes. Raises PartMismatchError when parts are missing or do not match their receipts: no
    file is sealed from them.
    """
    todo = unsealed(plan, receipts, claim, again)
    if not todo:
        return
    num_parts = sum(len(group.shards) for group in todo)
    parts, files = count_of(num_parts, "part"), count_of(len(todo), "file")
    log.info("seals %s into %s", parts, files)
    with ray_session(settings):
        bad = _seal(todo, SealJob(plan.without_shards(), claim.token), settings, claim)
    if bad:
        first = next(iter(bad.values()))
        problems = count_of(len(bad), "problem")
        raise PartMismatchError(f"{first} ({problems} in all)", list(bad))


def _seal(
    todo: list[Group], job: SealJob, settings: RunSettings, claim: Claim
) -> dict[str, str]:
    """Seal each file; return what is wrong with parts, by shard."""
    rows = {group.path: group.num_rows for group in todo}
    progress, bad = Progress("seal", sum(rows.values()), "ads"), dict[str, str]()
    for result in _results(todo, job, settings):
        if result.failure:
            claim.check(now=True)  # the plainer words, if that is the fault
            raise PartialRunError(
                f"the run stopped. The same command resumes it. Reason: {result.failure}"
            )
        bad |= result.bad_parts
        progress.add(rows[result.path])
        claim.check()
        interrupts.raise_received()
    return bad


def unsealed(
    plan: Plan,
    receipts: Mapping[str, Receipt],
    claim: Claim,
    again: Collection[str] = (),
) -> list[Group]:
    """Return what is still to be sealed; PartialRunError when shards are not scored."""
    check_settled(plan, receipts)
    layout = settled_layout(plan, receipts, partial(claim.check, now=True))
    groups = group_parts(plan, receipts, layout)
    sealed = read_seals(plan, groups).keys() - set(again)
    return [group for group in groups if group.path not in sealed]


def _results(
    todo: list[Group], job: SealJob, settings: RunSettings
) -> Iterator[SealResult]:
    if settings.executor == "ray":
        from rubert_ood.sealing.ray_tasks import seal_on_cluster

        yield from seal_on_cluster(todo, job, settings.no_progress_timeout_s)
        return
    for group in todo:
        yield seal_file(group.loaded(), job)

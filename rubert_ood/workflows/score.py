"""The nightly job: score, verify, publish, report; or go on with a stopped run."""

from collections.abc import Callable, Mapping
from functools import partial

from rubert_ood import storage
from rubert_ood.bundle import Bundle
from rubert_ood.clock import utc_now
from rubert_ood.comparing.compare import compare_runs
from rubert_ood.comparing.document import ChangedLabels, changed_labels
from rubert_ood.errors import (
    ErrorRateError,
    PublicationRefusedError,
    RubertOodError,
)
from rubert_ood.nights.estimates import with_estimates
from rubert_ood.operating.node_seconds import NodeSeconds, nodes_of_ray, one_node
from rubert_ood.operating.run_log import RunLog
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.publishing.lineage import Lineage, lineage_of
from rubert_ood.publishing.notice import (
    Told,
    errors_told,
    say_published_already,
    say_what_is_missing,
    tell_end,
    warn_if_late,
)
from rubert_ood.publishing.pointer import Place, day_uri, look
from rubert_ood.publishing.publish import keep_run, note_published, publish_run
from rubert_ood.publishing.reused import say_reuse, with_reuse
from rubert_ood.publishing.seen import check_not_rolled_back, manifest_at
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import write_diff
from rubert_ood.reports.run_page import write_report
from rubert_ood.reuse.build import with_index
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.cost import cost_of
from rubert_ood.runs.manifest import (
    Manifest,
    find_manifest,
    read_manifest,
    report_uri,
)
from rubert_ood.runs.parts import drop_parts
from rubert_ood.runs.plan import BundleName, Plan, Shard, save_plan
from rubert_ood.runs.receipt_log import ReceiptLog
from rubert_ood.runs.receipts import Receipt, read_receipts
from rubert_ood.runs.unfinished import note_stop, note_unfinished
from rubert_ood.runs.verify import (
    PartMismatchError,
    SealMismatchError,
    VerifiedRun,
    complete_manifest,
    verify_run,
)
from rubert_ood.scoring.check_input import check_input
from rubert_ood.scoring.executor import check_device, make_executor
from rubert_ood.scoring.passes import score_shards
from rubert_ood.scoring.stale import stale_shards
from rubert_ood.sealing.seal_run import seal_run
from rubert_ood.settings import ScoreSettings
from rubert_ood.storage.folders import remove_leftovers
from rubert_ood.tables.follow import follow_pointer
from rubert_ood.tables.reason import reason_of
from rubert_ood.tables.wanted import check_tables, wanted_tables

log = StepLog("run")


def score(settings: ScoreSettings, named: BundleName | None = None) -> Manifest:
    """Run the scoring job to its end, or go on with a stopped one; return the manifest.

    `named` is the bundle where it was resolved before, for several runs.
    """
    is_alone = settings.executor == "local" or settings.price.per_node_hour is None
    nodes = one_node if is_alone else nodes_of_ray
    with (
        RunLog() as kept,
        NodeSeconds(nodes) as held,
        errors_told(settings) as told,
        lineage_of(settings) as lineage,
    ):
        check = partial(check_input, settings, named)
        manifest = _run(settings, check, held, told, kept, lineage)
        lineage.ended(manifest)
        tell_end(settings, manifest)
    return manifest


def _run(
    settings: ScoreSettings,
    check: Callable[[], tuple[Plan, Bundle]],
    held: NodeSeconds,
    told: Told,
    kept: RunLog,
    lineage: Lineage,
) -> Manifest:
    started_at = utc_now()
    # if not ours, it ends the job here
    manifest_at(look(storage.absolute(settings.output_uri)))
    if settings.executor == "local":  # on Ray the nodes decide
        check_device(settings.compute.use_gpu)
    plan, bundle = check()
    check_tables(plan, settings.tables, subheads=bundle.subheads is not None)
    plan = save_plan(with_reuse(plan, settings))
    told.run_uri = plan.run_uri
    lineage.planned(plan)
    published = _published_already(plan, settings)
    if published:
        return published
    warn_if_late(plan, publish=settings.publish)
    claim = Claim(plan.run_uri)
    published = _published_already(
        plan, settings
    )  # by a start that ended before the claim
    if published:
        claim.release()
        return published
    kept.place(plan.run_uri, plan.run_id, claim.token)
    try:
        remove_leftovers(plan.output_uri, plan.run_uri)
        say_reuse(plan, settings)
        verified = _score_and_verify(plan, settings, claim, started_at)
        claim.check(now=True)
        complete = complete_manifest(plan, verified, started_at)
        if settings.publish or settings.reuse != "never":
            ask = partial(claim.check, now=True)
            complete = with_index(plan, complete, ask)
        cost = complete.cost or cost_of(held.total, settings.price)
        complete = complete.model_copy(update={"cost": cost})
        complete = with_estimates(complete, bundle, plan, verified.receipts)
        manifest = _publish(complete, settings, claim)
    except (Exception, KeyboardInterrupt) as stop:  # a bug, too, leaves none `running`
        note_stop(plan, claim, stop, started_at)
        raise
    claim.release()
    return manifest


def _published_already(plan: Plan, settings: ScoreSettings) -> Manifest | None:
    """Verify a run that was published, and return its manifest; None if it was not.

    Readers may hold it: nothing in it changes any more. Raises PublicationRefusedError if it was
    rolled back.
    """
    run_uri = plan.run_uri
    found = find_manifest(run_uri)
    catalogue, day = look(plan.output_uri), look(day_uri(run_uri))
    check_not_rolled_back(found, [catalogue if settings.publish else day], run_uri)
    if found is None:
        return None
    is_noted = found.outcome == "published"
    if not is_noted and not (settings.publish and catalogue.remembers(run_uri)):
        return None
    verify_run(plan)
    whole = with_index(plan, found)
    if whole != found or not is_noted:  # its start ended first, and another run came
        found = note_published(whole)
    drop_parts(run_uri)
    follow_pointer(plan.output_uri, wanted_tables(plan.output_uri, settings.tables))
    if not storage.exists(report_uri(run_uri)):
        write_report(found, _run_before(catalogue, run_uri))
    say_published_already(found, catalogue)
    return read_manifest(run_uri)


def _run_before(catalogue: Place, run_uri: str) -> Manifest | None:
    """Return the manifest of the run that was published before this one, if this one is named."""
    if (
        catalogue.pointer is None
        or not catalogue.names(run_uri)
        or not catalogue.pointer.history
    ):
        return None
    return find_manifest(storage.join(catalogue.root_uri, catalogue.pointer.history[0]))


def _score_and_verify(
    plan: Plan, settings: ScoreSettings, claim: Claim, started_at: str
) -> VerifiedRun:
    """Score what has no receipt, then seal and verify all."""
    log_of_receipts = ReceiptLog(plan, lambda: claim.check(now=True))
    receipts = read_receipts(plan.run_uri, plan.fingerprint, log_of_receipts.fill)
    todo = [shard for shard in plan.shards if shard.shard_id not in receipts]
    if not todo:
        return _mended(plan, receipts, settings, claim)
    note_unfinished(plan, claim, "running", started_at, receipts)
    with ray_session(settings):  # one for scoring and sealing
        _score(todo, plan, settings, claim)
        again = stale_shards(plan)
        if again:
            _score(again, plan, settings, claim)
        receipts = read_receipts(plan.run_uri, plan.fingerprint)
        return _mended(plan, receipts, settings, claim)


def _mended(
    plan: Plan, receipts: Mapping[str, Receipt], settings: ScoreSettings, claim: Claim
) -> VerifiedRun:
    """Seal and verify; a part that is not what its receipt says is scored again, once."""
    try:
        return _seal_and_verify(plan, receipts, settings, claim)
    except PartMismatchError as error:
        bad = set(error.shard_ids)
        parts = count_of(len(bad), "part")
        StepLog("verify").warning("scores %s again: %s", parts, error)
    claim.check(
        now=True
    )  # a newer start may have published by now, and dropped the parts
    shards = [shard for shard in plan.shards if shard.shard_id in bad]
    _score(shards, plan, settings, claim)
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    return _seal_and_verify(plan, receipts, settings, claim)


def _seal_and_verify(
    plan: Plan, receipts: Mapping[str, Receipt], settings: ScoreSettings, claim: Claim
) -> VerifiedRun:
    """Seal what has no seal; a file that is not what its seal says is sealed again, once."""
    seal_run(plan, receipts, settings, claim)
    try:
        return verify_run(plan, receipts)
    except SealMismatchError as error:
        bad = error.paths
        files = count_of(len(bad), "file")
        StepLog("verify").warning("seals %s again, and goes on: %s", files, error)
    seal_run(plan, receipts, settings, claim, bad)
    return verify_run(plan, receipts)


def _score(todo: list[Shard], plan: Plan, settings: ScoreSettings, claim: Claim) -> None:
    with ray_session(settings):
        score_shards(plan, todo, settings, claim, make_executor(settings))


def _publish(complete: Manifest, settings: ScoreSettings, claim: Claim) -> Manifest:
    """Publish a verified run if the settings and the gate agree; write its report in any case."""
    run_uri = complete.run_uri
    previous = manifest_at(look(complete.output_uri), other_than=run_uri)
    refused: RubertOodError | None = None
    try:
        if settings.publish:
            publish_run(complete, settings.gate, claim=lambda: claim.check(now=True))
        else:
            keep_run(complete, previous, settings.gate, lambda: claim.check(now=True))
    except (ErrorRateError, PublicationRefusedError) as error:
        refused = error
    if settings.publish:
        output_uri = complete.output_uri
        follow_pointer(output_uri, wanted_tables(output_uri, settings.tables))
    manifest = read_manifest(run_uri)
    write_report(manifest, previous, _changes(manifest, previous, settings))
    if refused:
        raise refused
    say_what_is_missing(manifest)
    StepLog(manifest.outcome).info("%s", run_uri)
    return manifest


def _changes(
    manifest: Manifest, previous: Manifest | None, settings: ScoreSettings
) -> ChangedLabels | None:
    """Compare with the last published run, ad by ad. The run itself is done: a failure here spoils
    nothing."""
    if previous is None or not settings.report_changes:
        return None
    try:
        with ray_session(settings):
            document = compare_runs(
                previous.run_uri, manifest.run_uri, executor=settings.executor
            )
        write_diff(document, storage.join(manifest.run_uri, "_run"))
    except Exception as error:
        StepLog("diff").warning(
            "the report will not show which labels changed, because the"
            " comparison failed: %s",
            reason_of(error),
        )
        return None
    return changed_labels(document)

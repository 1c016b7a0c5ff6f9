"""The nightly job: score, verify, publish, report; or go on with a stopped run."""

from rubert_ood import storage
from rubert_ood.clock import utc_now
from rubert_ood.comparing.compare import compare_runs
from rubert_ood.comparing.document import ChangedLabels, changed_labels
from rubert_ood.errors import (
    ErrorRateError,
    PartialRunError,
    PublicationRefusedError,
    RubertOodError,
    SettingsError,
)
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import Place, day_uri, look, named_by
from rubert_ood.publishing.publish import keep_run, note_published, publish_run
from rubert_ood.publishing.seen import check_not_rolled_back, manifest_at
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import write_diff
from rubert_ood.reports.run_page import write_report
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.manifest import (
    Manifest,
    Outcome,
    find_manifest,
    read_manifest,
    report_uri,
    revise_manifest,
)
from rubert_ood.runs.parts import drop_parts
from rubert_ood.runs.plan import Plan, Shard, save_plan
from rubert_ood.runs.receipts import Receipt, read_quarantine, read_receipts
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
from rubert_ood.sealing.seal_run import seal_run
from rubert_ood.settings import ScoreSettings
from rubert_ood.storage.folders import remove_leftovers

log = StepLog("run")
LATER = "; readers see a later run, `publish` would go back to this one"


def score(settings: ScoreSettings) -> Manifest:
    """Run the scoring job to its end, or go on with a stopped one; return the manifest."""
    started_at = utc_now()
    # if not ours, it ends the job here
    manifest_at(look(storage.absolute(settings.output_uri)))
    if settings.executor == "local":  # on Ray the nodes decide
        check_device(settings.compute.use_gpu)
    plan, _ = check_input(settings)
    save_plan(plan)
    published = _published_already(plan, settings)
    if published:
        return published
    _warn_if_late(plan, settings)
    claim = Claim(plan.run_uri)
    published = _published_already(
        plan, settings
    )  # by a start that ended before the claim
    if published:
        claim.release()
        return published
    try:
        remove_leftovers(plan.output_uri, plan.run_uri)
        verified = _score_and_verify(plan, settings, claim, started_at)
        claim.check(now=True)
        manifest = _publish(
            complete_manifest(plan, verified, started_at), settings, claim
        )
    except (PartialRunError, SettingsError, KeyboardInterrupt) as stop:
        outcome: Outcome = (
            "interrupted" if isinstance(stop, KeyboardInterrupt) else "partial"
        )
        _note_stop(plan, claim, outcome, started_at)
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
    if not is_noted:  # its start ended first, and another run came
        found = note_published(found)
    drop_parts(run_uri)
    if not storage.exists(report_uri(run_uri)):
        write_report(found, _run_before(catalogue, run_uri))
    later = "" if named_by(run_uri) else LATER
    StepLog("published").info("%s: already, nothing to do%s", run_uri, later)
    return found


def _warn_if_late(plan: Plan, settings: ScoreSettings) -> None:
    """Say before hours of work that the run will not be published; the publisher decides."""
    pointer = look(plan.output_uri).pointer
    if settings.publish and pointer and pointer.run_date > plan.run_date:
        log.warning(
            "readers see %s, a later day: this run is scored, and not published",
            pointer.path,
        )


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
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    todo = [shard for shard in plan.shards if shard.shard_id not in receipts]
    if not todo:
        return _mended(plan, receipts, settings, claim)
    _note(plan, claim, "running", started_at, receipts)
    with ray_session(settings):  # one for scoring and sealing
        _score(todo, plan, settings, claim)
        receipts = read_receipts(plan.run_uri, plan.fingerprint)
        return _mended(plan, receipts, settings, claim)


def _mended(
    plan: Plan, receipts: dict[str, Receipt], settings: ScoreSettings, claim: Claim
) -> VerifiedRun:
    """Seal and verify; a part that is not what its receipt says is scored again, once."""
    try:
        return _seal_and_verify(plan, receipts, settings, claim)
    except PartMismatchError as error:
        bad = set(error.shard_ids)
        StepLog("verify").warning("%d part(s) are scored again: %s", len(bad), error)
    claim.check(
        now=True
    )  # a newer start may have published by now, and dropped the parts
    shards = [shard for shard in plan.shards if shard.shard_id in bad]
    _score(shards, plan, settings, claim)
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    return _seal_and_verify(plan, receipts, settings, claim)


def _seal_and_verify(
    plan: Plan, receipts: dict[str, Receipt], settings: ScoreSettings, claim: Claim
) -> VerifiedRun:
    """Seal what has no seal; a file that is not what its seal says is sealed again, once."""
    seal_run(plan, receipts, settings, claim)
    try:
        return verify_run(plan, receipts)
    except SealMismatchError as error:
        bad = error.paths
        StepLog("verify").warning("%d file(s) are sealed again: %s", len(bad), error)
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
    manifest = read_manifest(run_uri)
    write_report(manifest, previous, _changes(manifest, previous, settings))
    if refused:
        raise refused
    _say_what_is_missing(manifest)
    StepLog(manifest.outcome).info("%s", run_uri)
    return manifest


def _say_what_is_missing(manifest: Manifest) -> None:
    num_files, num_shards = len(manifest.quarantined), len(manifest.quarantined_shards)
    num_duplicates = manifest.duplicates.rows if manifest.duplicates else 0
    if num_files or num_shards or num_duplicates:
        log.warning(
            "without %d quarantined file(s) and %d quarantined shard(s); %d duplicate ids",
            num_files,
            num_shards,
            num_duplicates,
        )


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
    except RubertOodError as error:
        StepLog("diff").warning("the report does not say which labels changed: %s", error)
        return None
    return changed_labels(document)


def _note(
    plan: Plan,
    claim: Claim,
    outcome: Outcome,
    started_at: str,
    receipts: dict[str, Receipt] | None = None,
) -> None:
    """Write the manifest of a run that is not complete; one that was whole is, while its parts
    stay."""
    if receipts is None:
        receipts = read_receipts(plan.run_uri, plan.fingerprint)
    quarantined = read_quarantine(plan.run_uri, plan.fingerprint)
    manifest = Manifest.of(
        plan, receipts, outcome=outcome, started_at=started_at, quarantined=quarantined
    )

    def change(found: Manifest | None) -> Manifest | None:
        if found is None:
            return manifest
        is_final = found.outcome in ("published", "rolled_back")
        stays = is_final or (found.is_whole and found.parts == manifest.parts)
        return None if stays else manifest

    revise_manifest(plan.run_uri, change, lambda: claim.check(now=True))


def _note_stop(plan: Plan, claim: Claim, outcome: Outcome, started_at: str) -> None:
    """Note how a run stopped, if it still is ours and storage answers; the error that stopped it is
    what matters."""
    try:
        if claim.holds():
            _note(plan, claim, outcome, started_at)
            claim.release()
    except RubertOodError as error:
        log.warning("its manifest could not be written: %s", error)

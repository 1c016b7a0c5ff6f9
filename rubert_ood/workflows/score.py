"""Score, verify, publish, report, roll back: the nightly job, and its steps one by one."""

import logging
from datetime import UTC, datetime
from typing import Any

from rubert_ood import storage
from rubert_ood.cluster import ray_session
from rubert_ood.errors import ErrorRateError, InputError, PartialRunError, PublicationRefusedError, RubertOodError
from rubert_ood.folders import remove_leftovers
from rubert_ood.reports.html import run_html
from rubert_ood.scoring.ledger import read_quarantine, read_receipts
from rubert_ood.scoring.manifest import make_manifest, put_manifest, read_manifest
from rubert_ood.scoring.plan import Plan, Shard, load_plan, save_plan
from rubert_ood.scoring.publish import (
    check_gate,
    is_published,
    publish_run,
    published_before,
    published_manifest,
    roll_back,
)
from rubert_ood.scoring.runner import Runner
from rubert_ood.scoring.verify import PartMismatchError, VerifiedRun, check_manifest, verify_run
from rubert_ood.settings import PublishSettings, RollbackSettings, ScoreSettings, VerifySettings
from rubert_ood.workflows.compare import changed_labels, compare_runs, write_diff
from rubert_ood.workflows.plan import check_input

log = logging.getLogger(__name__)


def score(settings: ScoreSettings) -> dict[str, Any]:
    """Run the scoring job to its end, or go on with a stopped one; return the manifest."""
    started_at = _now()
    run_plan, _ = check_input(settings)
    save_plan(run_plan)
    older = _older_manifest(run_plan)
    if older.get("outcome") == "rolled_back":
        raise PublicationRefusedError(
            f"{run_plan.run_uri}: was rolled back ({older['rollback_reason']}); `publish --force` publishes it again"
        )
    if older.get("outcome") == "published":  # readers may hold it: nothing in it changes any more
        verify_run(run_plan)
        if not storage.exists(_report_uri(run_plan.run_uri)):
            write_report(run_plan.run_uri, older, published_before(run_plan.output_uri))
        now = "" if is_published(older) else "; readers see a later run, `publish` would go back to this one"
        log.info("published %s: already, nothing to do%s", run_plan.run_uri, now)
        return older
    runner = Runner(run_plan.run_uri)
    try:
        remove_leftovers(run_plan.output_uri, run_plan.run_uri)
        _note(run_plan, "running", started_at)
        verified = _score_and_verify(run_plan, settings, runner)
        runner.check(now=True)
        manifest = _publish(run_plan, verified, settings, started_at)
    except (PartialRunError, KeyboardInterrupt) as stop:
        _note_stop(run_plan, runner, "partial" if isinstance(stop, PartialRunError) else "interrupted", started_at)
        raise
    runner.release()
    return manifest


def _score_and_verify(run_plan: Plan, settings: ScoreSettings, runner: Runner) -> VerifiedRun:
    """Score what has no receipt; a part that is not what its receipt says is scored again, once."""
    receipts = read_receipts(run_plan.run_uri, run_plan.fingerprint)
    _score([shard for shard in run_plan.shards if shard.shard_id not in receipts], run_plan, settings, runner)
    try:
        return verify_run(run_plan)
    except PartMismatchError as error:
        log.warning("verify    %d part(s) are scored again: %s", len(error.shard_ids), error)
        _score([shard for shard in run_plan.shards if shard.shard_id in error.shard_ids], run_plan, settings, runner)
        return verify_run(run_plan)


def _score(todo: list[Shard], run_plan: Plan, settings: ScoreSettings, runner: Runner) -> None:
    if todo:
        with ray_session(settings):
            from rubert_ood.scoring.pipeline import score_shards

            score_shards(run_plan, todo, settings, runner)


def _publish(run_plan: Plan, verified: VerifiedRun, settings: ScoreSettings, started_at: str) -> dict[str, Any]:
    """Publish a verified run if the settings and the gate agree, and write its report in any case."""
    manifest = _complete(run_plan, verified, started_at)
    previous = published_manifest(run_plan.output_uri, other_than=run_plan.run_uri)
    refused: RubertOodError | None = None
    try:
        if settings.publish:
            publish_run(manifest, settings.gate)
        else:
            put_manifest(manifest | {"gate": check_gate(manifest, previous, settings.gate)})
    except (ErrorRateError, PublicationRefusedError) as error:
        refused = error
    manifest = read_manifest(run_plan.run_uri)
    write_report(run_plan.run_uri, manifest, previous, _changes(manifest, previous, settings))
    if refused:
        raise refused
    aside = len(manifest["quarantined"]), len(manifest["quarantined_shards"]), manifest["duplicates"]["rows"]
    if any(aside):
        log.warning("run       without %d file(s) and %d shard(s) that were set aside; %d ids too many", *aside)
    log.info("%-9s %s", manifest["outcome"], run_plan.run_uri)
    return manifest


def _changes(
    manifest: dict[str, Any], previous: dict[str, Any] | None, settings: ScoreSettings
) -> dict[str, Any] | None:
    """Compare with the last published run, ad by ad. The run itself is done: a failure here spoils nothing."""
    if previous is None or not settings.report_changes:
        return None
    try:
        with ray_session(settings):
            document = compare_runs(previous["run_uri"], manifest["run_uri"])
        write_diff(document, storage.join(manifest["run_uri"], "_run"))
    except RubertOodError as error:
        log.warning("diff      the report does not say which labels changed: %s", error)
        return None
    return changed_labels(document)


def _report_uri(run_uri: str) -> str:
    return storage.join(run_uri, "_run", "report.html")


def write_report(
    run_uri: str,
    manifest: dict[str, Any],
    previous: dict[str, Any] | None,
    changes: dict[str, Any] | None = None,
) -> None:
    """Write the report of a run, beside the run that it is compared with."""
    uri = _report_uri(run_uri)
    storage.put_bytes(uri, run_html(manifest, previous, changes).encode())
    log.info("report    %s", uri)


def verify(settings: VerifySettings) -> None:
    """Check the parts of a run against its receipts, and its manifest against both."""
    run_plan = load_plan(settings.run_uri)
    verified = verify_run(run_plan)
    older = _older_manifest(run_plan)
    if older.get("outcome") in ("complete", "refused", "published", "rolled_back"):
        check_manifest(older, _complete(run_plan, verified, older["started_at"]))
    rows = sum(receipt["rows_scored"] for receipt in verified.receipts.values())
    log.info(f"verified  {len(verified.receipts):,} parts, {rows:,} ads: all as the receipts say")


def publish(settings: PublishSettings) -> dict[str, Any]:
    """Verify a run, apply the gate, swap the pointer. What is published is counted from the receipts again."""
    run_plan = load_plan(settings.run_uri)
    verified = verify_run(run_plan)
    older = _older_manifest(run_plan)
    if older.get("outcome") == "rolled_back" and not settings.force:
        raise PublicationRefusedError(
            f"{run_plan.run_uri}: was rolled back ({older['rollback_reason']}); give --force REASON to publish it again"
        )
    manifest = _complete(run_plan, verified, older.get("started_at", _now()))
    if older.get("outcome") in ("complete", "refused", "published", "rolled_back"):
        manifest |= {name: older[name] for name in ("finished_at", "elapsed_s", "rows_per_s")}
    manifest = publish_run(manifest, settings.gate, force=settings.force)
    log.info("published %s", run_plan.run_uri)
    return manifest


def rollback(settings: RollbackSettings) -> dict[str, Any]:
    """Let the pointer name the run that was published before the present one."""
    pointer = roll_back(storage.absolute(settings.output_uri.rstrip("/")), settings.reason)
    log.info("rollback  %s is taken back; published is %s", pointer["rolled_back"]["path"], pointer["path"])
    return pointer


def _complete(run_plan: Plan, verified: VerifiedRun, started_at: str) -> dict[str, Any]:
    return make_manifest(
        run_plan,
        verified.receipts,
        outcome="complete",
        started_at=started_at,
        quarantined_shards=verified.quarantined,
        duplicates=verified.duplicates,
    )


def _note(run_plan: Plan, outcome: str, started_at: str) -> None:
    """Write the manifest of a run that is not complete."""
    receipts, quarantined = (read(run_plan.run_uri, run_plan.fingerprint) for read in (read_receipts, read_quarantine))
    put_manifest(
        make_manifest(run_plan, receipts, outcome=outcome, started_at=started_at, quarantined_shards=quarantined)
    )


def _note_stop(run_plan: Plan, runner: Runner, outcome: str, started_at: str) -> None:
    """Note how a run stopped, if it still is ours and storage answers; the error that stopped it is what matters."""
    try:
        if runner.holds():
            _note(run_plan, outcome, started_at)
            runner.release()
    except PartialRunError as error:
        log.warning("run       its manifest could not be written: %s", error)


def _older_manifest(run_plan: Plan) -> dict[str, Any]:
    """Return the manifest of the run as an earlier start left it; empty if none got that far."""
    try:
        return read_manifest(run_plan.run_uri)
    except InputError:
        return {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

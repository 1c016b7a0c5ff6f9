"""Score, verify, publish, report, roll back: the nightly job, and its steps one by one."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rubert_ood import storage
from rubert_ood.comparing.compare import compare_runs
from rubert_ood.comparing.document import ChangedLabels, changed_labels
from rubert_ood.errors import (
    ErrorRateError,
    PartialRunError,
    PublicationRefusedError,
    RubertOodError,
    SettingsError,
)
from rubert_ood.publishing.gate import check_gate, nothing_scored
from rubert_ood.publishing.pointer import (
    Place,
    Pointer,
    day_uri,
    look,
    named_by,
)
from rubert_ood.publishing.publish import check_not_rolled_back, manifest_at, publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import write_diff
from rubert_ood.reports.html import run_html
from rubert_ood.runs.claim import Runner
from rubert_ood.runs.manifest import (
    WHOLE,
    find_manifest,
    make_manifest,
    read_manifest,
    revise_manifest,
)
from rubert_ood.runs.plan import (
    Plan,
    Shard,
    load_plan,
    save_plan,
)
from rubert_ood.runs.receipts import read_quarantine, read_receipts
from rubert_ood.runs.verify import (
    PartMismatchError,
    VerifiedRun,
    check_manifest,
    verify_run,
)
from rubert_ood.settings import PublishSettings, RollbackSettings, ScoreSettings, VerifySettings
from rubert_ood.storage.folders import remove_leftovers
from rubert_ood.workflows.plan import check_input

log = logging.getLogger(__name__)


def score(settings: ScoreSettings) -> dict[str, Any]:
    """Run the scoring job to its end, or go on with a stopped one; return the manifest."""
    started_at = _now()
    manifest_at(look(storage.absolute(settings.output_uri)))  # if not ours, it ends the job here
    run_plan, _ = check_input(settings)
    save_plan(run_plan)
    published = _published_already(run_plan, settings)
    if published:
        return published
    _warn_if_late(run_plan, settings)
    runner = Runner(run_plan.run_uri)
    published = _published_already(run_plan, settings)  # by a start that ended before the claim
    if published:
        runner.release()
        return published
    try:
        remove_leftovers(run_plan.output_uri, run_plan.run_uri)
        verified = _score_and_verify(run_plan, settings, runner, started_at)
        runner.check(now=True)
        manifest = _publish(run_plan, verified, settings, started_at, runner)
    except (PartialRunError, SettingsError, KeyboardInterrupt) as stop:
        outcome = "interrupted" if isinstance(stop, KeyboardInterrupt) else "partial"
        _note_stop(run_plan, runner, outcome, started_at)
        raise
    runner.release()
    return manifest


def _published_already(run_plan: Plan, settings: ScoreSettings) -> dict[str, Any] | None:
    """Verify a run that was published, and return its manifest; None if it was not.

    Readers may hold it: nothing in it changes any more. Raises PublicationRefusedError if it was
    rolled back.
    """
    run_uri = run_plan.run_uri
    found = find_manifest(run_uri)
    catalogue, day = look(run_plan.output_uri), look(day_uri(run_uri))
    check_not_rolled_back(found, [catalogue if settings.publish else day], run_uri)
    noted = found.get("outcome") == "published"
    if not noted and not (settings.publish and found and catalogue.remembers(run_uri)):
        return None
    verify_run(run_plan)
    if not noted:  # the start that published it ended before it could say so, and another run came
        here = {"outcome": "published", "pointers": named_by(run_uri)}
        found = revise_manifest(run_uri, lambda found: found | here)
    if not storage.exists(_report_uri(run_uri)):
        write_report(run_uri, found, _run_before(catalogue, run_uri))
    later = (
        ""
        if named_by(run_uri)
        else "; readers see a later run, `publish` would go back to this one"
    )
    log.info("published %s: already, nothing to do%s", run_uri, later)
    return found


def _warn_if_late(run_plan: Plan, settings: ScoreSettings) -> None:
    """Say before hours of work that the run will not be published; the publisher decides."""
    pointer = look(run_plan.output_uri).pointer
    if settings.publish and pointer and pointer.run_date > run_plan.run_date:
        log.warning(
            "run       readers see %s, a later day: this run is scored, and not published",
            pointer.path,
        )


def _run_before(catalogue: Place, run_uri: str) -> dict[str, Any] | None:
    """Return the manifest of the run that was published before this one, if this one is named."""
    if catalogue.pointer is None or not catalogue.names(run_uri) or not catalogue.pointer.history:
        return None
    return find_manifest(storage.join(catalogue.root_uri, catalogue.pointer.history[0])) or None


def _score_and_verify(
    run_plan: Plan, settings: ScoreSettings, runner: Runner, started_at: str
) -> VerifiedRun:
    """Score what has no receipt; a part that is not what its receipt says is scored again, once."""
    receipts = read_receipts(run_plan.run_uri, run_plan.fingerprint)
    todo = [shard for shard in run_plan.shards if shard.shard_id not in receipts]
    if todo:
        _note(run_plan, runner, "running", started_at)
    _score(todo, run_plan, settings, runner)
    try:
        return verify_run(run_plan)
    except PartMismatchError as error:
        log.warning("verify    %d part(s) are scored again: %s", len(error.shard_ids), error)
        _score(
            [shard for shard in run_plan.shards if shard.shard_id in error.shard_ids],
            run_plan,
            settings,
            runner,
        )
        return verify_run(run_plan)


def _score(todo: list[Shard], run_plan: Plan, settings: ScoreSettings, runner: Runner) -> None:
    if todo:
        with ray_session(settings):
            from rubert_ood.scoring.passes import score_shards

            score_shards(run_plan, todo, settings, runner)


def _publish(
    run_plan: Plan, verified: VerifiedRun, settings: ScoreSettings, started_at: str, runner: Runner
) -> dict[str, Any]:
    """Publish a verified run if the settings and the gate agree, and write its report in any
    case."""
    manifest = _complete(run_plan, verified, started_at)
    previous = manifest_at(look(run_plan.output_uri), other_than=run_plan.run_uri)
    refused: RubertOodError | None = None
    try:
        if settings.publish:
            publish_run(manifest, settings.gate, claim=lambda: runner.check(now=True))
        else:
            _keep(manifest, previous, settings, runner)
    except (ErrorRateError, PublicationRefusedError) as error:
        refused = error
    manifest = read_manifest(run_plan.run_uri)
    write_report(run_plan.run_uri, manifest, previous, _changes(manifest, previous, settings))
    if refused:
        raise refused
    aside = (
        len(manifest["quarantined"]),
        len(manifest["quarantined_shards"]),
        manifest["duplicates"]["rows"],
    )
    if any(aside):
        log.warning(
            "run       without %d file(s) and %d shard(s) that were set aside; %d ids too many",
            *aside,
        )
    log.info("%-9s %s", manifest["outcome"], run_plan.run_uri)
    return manifest


def _keep(
    manifest: dict[str, Any],
    previous: dict[str, Any] | None,
    settings: ScoreSettings,
    runner: Runner,
) -> None:
    """Note a run that shall not be published, with its gate; ErrorRateError if nothing was
    scored."""
    noted = manifest | {"gate": check_gate(manifest, previous, settings.gate)}
    empty = nothing_scored(manifest)
    if empty:
        noted |= {"outcome": "refused", "refusal_reason": str(empty)}

    def change(found: dict[str, Any]) -> dict[str, Any] | None:
        return None if found.get("outcome") in ("published", "rolled_back") else noted

    revise_manifest(manifest["run_uri"], change, lambda: runner.check(now=True))
    if empty:
        raise empty


def _changes(
    manifest: dict[str, Any], previous: dict[str, Any] | None, settings: ScoreSettings
) -> ChangedLabels | None:
    """Compare with the last published run, ad by ad. The run itself is done: a failure here spoils
    nothing."""
    if previous is None or not settings.report_changes:
        return None
    try:
        with ray_session(settings):
            document = compare_runs(
                previous["run_uri"], manifest["run_uri"], executor=settings.executor
            )
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
    changes: ChangedLabels | None = None,
) -> None:
    """Write the report of a run, beside the run that it is compared with."""
    uri = _report_uri(run_uri)
    storage.put_bytes(uri, run_html(manifest, previous, changes).encode())
    log.info("report    %s", uri)


def verify(settings: VerifySettings) -> None:
    """Check the parts of a run against its receipts, and its manifest against both."""
    run_plan = load_plan(settings.run_uri)
    verified = verify_run(run_plan)
    older = find_manifest(run_plan.run_uri)
    if older.get("outcome") in WHOLE:
        check_manifest(older, _complete(run_plan, verified))
    rows = sum(receipt["rows_scored"] for receipt in verified.receipts.values())
    log.info(f"verified  {len(verified.receipts):,} parts, {rows:,} ads: all as the receipts say")


def publish(settings: PublishSettings) -> dict[str, Any]:
    """Verify a run, apply the gate, swap the pointer. What is published is counted from the
    receipts again."""
    run_plan = load_plan(settings.run_uri)
    manifest = _complete(run_plan, verify_run(run_plan))
    manifest = publish_run(manifest, settings.gate, force=settings.force)
    catalogue = look(run_plan.output_uri)
    if catalogue.pointer and not catalogue.names(run_plan.run_uri):
        raise PublicationRefusedError(
            f"{run_plan.run_uri}: was published before {catalogue.pointer.path}, which readers see"
            " now; `publish --force REASON` goes back to it"
        )
    log.info("published %s", run_plan.run_uri)
    return manifest


def rollback(settings: RollbackSettings) -> Pointer:
    """Let the pointer name the run that was published before the present one."""
    pointer = roll_back(storage.absolute(settings.output_uri.rstrip("/")), settings.reason)
    log.info("rollback  %s is taken back; published is %s", pointer.taken_back[0], pointer.path)
    return pointer


def _complete(run_plan: Plan, verified: VerifiedRun, started_at: str = "") -> dict[str, Any]:
    """Make the manifest of a run whose shards are all settled.

    It keeps its times while its parts are the same: a run that is only verified again is not newer.
    """
    older = find_manifest(run_plan.run_uri)
    manifest = make_manifest(
        run_plan,
        verified.receipts,
        outcome="complete",
        started_at=started_at or older.get("started_at", _now()),
        quarantined_shards=verified.quarantined,
        duplicates=verified.duplicates,
    )
    if _parts(older) == _parts(manifest):
        manifest |= {
            name: older[name] for name in ("started_at", "finished_at", "elapsed_s", "rows_per_s")
        }
    return manifest


def _parts(manifest: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Return what tells the parts of two manifests apart; None without a manifest."""
    shards = manifest.get("shards")
    return shards and [(shard["shard_id"], shard["part_sha256"]) for shard in shards]


def _note(run_plan: Plan, runner: Runner, outcome: str, started_at: str) -> None:
    """Write the manifest of a run that is not complete; one that was whole is, while its parts
    stay."""
    receipts = read_receipts(run_plan.run_uri, run_plan.fingerprint)
    quarantined = read_quarantine(run_plan.run_uri, run_plan.fingerprint)
    manifest = make_manifest(
        run_plan, receipts, outcome=outcome, started_at=started_at, quarantined_shards=quarantined
    )

    def change(found: dict[str, Any]) -> dict[str, Any] | None:
        whole = found.get("outcome") in WHOLE and _parts(found) == _parts(manifest)
        return None if whole or found.get("outcome") in ("published", "rolled_back") else manifest

    revise_manifest(run_plan.run_uri, change, lambda: runner.check(now=True))


def _note_stop(run_plan: Plan, runner: Runner, outcome: str, started_at: str) -> None:
    """Note how a run stopped, if it still is ours and storage answers; the error that stopped it is
    what matters."""
    try:
        if runner.holds():
            _note(run_plan, runner, outcome, started_at)
            runner.release()
    except RubertOodError as error:
        log.warning("run       its manifest could not be written: %s", error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

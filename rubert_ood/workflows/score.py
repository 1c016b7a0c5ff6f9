"""Plan, score, verify, publish, report: the nightly job, and its steps one by one."""

import logging
from datetime import UTC, datetime
from typing import Any

from rubert_ood import storage
from rubert_ood.bundle import load_bundle
from rubert_ood.cluster import ray_session
from rubert_ood.errors import InputError, PartialRunError
from rubert_ood.reports.html import run_html
from rubert_ood.scoring.ledger import make_manifest, put_manifest, read_manifest, read_receipts, verify_run
from rubert_ood.scoring.plan import Plan, load_plan, make_plan, save_plan
from rubert_ood.scoring.publish import check_gate, is_published, publish_run, published_manifest
from rubert_ood.settings import PublishSettings, ScoreSettings, VerifySettings

log = logging.getLogger(__name__)


def plan(settings: ScoreSettings) -> Plan:
    """Check the input and say what a run would do; nothing is written."""
    run_plan = make_plan(settings, load_bundle(settings.bundle_uri))
    log.info(
        f"plan      {run_plan.num_rows:,} ads in {len(run_plan.shards):,} shards, "
        f"{len(run_plan.quarantined):,} file(s) set aside, bundle {run_plan.bundle['version']}"
    )
    for item in run_plan.quarantined:
        log.warning("plan      set aside: %s", item["reason"])
    log.info("run       %s", run_plan.run_uri)
    return run_plan


def score(settings: ScoreSettings) -> dict[str, Any]:
    """Run the scoring job to its end, or go on with a stopped one; return the manifest."""
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    run_plan = plan(settings)
    save_plan(run_plan)
    with ray_session(settings):
        from rubert_ood.scoring.pipeline import score_shards

        try:
            score_shards(run_plan, settings)
        except PartialRunError:
            receipts = read_receipts(run_plan.run_uri, run_plan.fingerprint)
            put_manifest(make_manifest(run_plan, receipts, outcome="partial", started_at=started_at))
            raise
    receipts = verify_run(run_plan)
    manifest = make_manifest(run_plan, receipts, outcome="complete", started_at=started_at)
    older = _older_manifest(run_plan)
    if older.get("outcome") == "published" and is_published(older) and older["counts"] == manifest["counts"]:
        log.info("published %s: already, nothing to do", run_plan.run_uri)
        return older
    previous = published_manifest(run_plan.output_uri, other_than=run_plan.run_uri)
    try:
        if settings.publish:
            publish_run(manifest, settings.gate)
        else:
            put_manifest(manifest | {"gate": check_gate(manifest, previous, settings.gate)})
    finally:
        manifest = read_manifest(run_plan.run_uri)
        report_uri = storage.join(run_plan.run_uri, "_run", "report.html")
        storage.put_bytes(report_uri, run_html(manifest, previous).encode())
        log.info("report    %s", report_uri)
    log.info("%-9s %s", manifest["outcome"], run_plan.run_uri)
    return manifest


def verify(settings: VerifySettings) -> None:
    """Check the parts of a run against its receipts."""
    receipts = verify_run(load_plan(settings.run_uri))
    rows = sum(receipt["rows_scored"] for receipt in receipts.values())
    log.info(f"verified  {len(receipts):,} parts, {rows:,} ads: all as the receipts say")


def publish(settings: PublishSettings) -> dict[str, Any]:
    """Verify a run, apply the gate, swap the pointer. What is published is counted from the receipts again."""
    run_plan = load_plan(settings.run_uri)
    receipts = verify_run(run_plan)
    older = _older_manifest(run_plan)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = make_manifest(run_plan, receipts, outcome="complete", started_at=older.get("started_at", now))
    if older.get("outcome") != "partial":
        manifest |= {name: older[name] for name in ("finished_at", "elapsed_s", "rows_per_s") if name in older}
    manifest = publish_run(manifest, settings.gate)
    log.info("published %s", run_plan.run_uri)
    return manifest


def _older_manifest(run_plan: Plan) -> dict[str, Any]:
    """Return the manifest of the run as an earlier start left it; empty if none got that far."""
    try:
        return read_manifest(run_plan.run_uri)
    except InputError:
        return {}

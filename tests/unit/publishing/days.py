"""Runs of past days that hold nothing but a manifest, and their publication."""

from rubert_ood.publishing.pointer import day_uri, look, read_pointer
from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.run_before import run_before
from rubert_ood.publishing.seen import Comparison
from rubert_ood.runs.manifest import Manifest
from rubert_ood.settings import GateSettings
from tests.unit.publishing.manifests import a_manifest, changed, put_manifest

OPEN = GateSettings(max_class_shift=1, max_churn=1)


def put_run(
    out: str,
    day: str,
    run_id: str,
    *,
    outcome: str = "complete",
    finished: str = "10",
    rows: int = 100,
) -> Manifest:
    """A run folder that holds nothing but its manifest."""
    finished_at = f"2026-11-25T{finished}:00:00+00:00"
    classes = {"Мебель": rows - 10, "Other": 10}
    manifest = a_manifest(
        out, run_id, classes, run_date=day, finished_at=finished_at, rows_ood=1
    )
    put_manifest(changed(manifest, outcome=outcome))
    return changed(manifest, outcome=outcome)


def run_before_of(manifest: Manifest) -> Manifest | None:
    run_uri = manifest.run_uri
    return run_before(run_uri, [look(day_uri(run_uri)), look(manifest.output_uri)])


def publish_day(
    manifest: Manifest, gate: GateSettings = OPEN, churn_rate: float | None = 0.1
) -> Manifest:
    return publish_run(
        manifest, gate, compared=Comparison(run_before_of(manifest), churn_rate)
    )


def named(out: str, day: str | None = None) -> str | None:
    pointer = read_pointer(f"{out}/run_date={day}" if day else out)
    return pointer and pointer.run_id

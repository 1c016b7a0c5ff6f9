"""Score past days again with another bundle, compare each with the run that the day had before,
publish by gate."""

import logging
from datetime import date, timedelta
from typing import Any

from rubert_ood import storage
from rubert_ood.comparing.compare import changed_labels, compare_runs
from rubert_ood.errors import RubertOodError
from rubert_ood.publishing.pointer import day_uri, look
from rubert_ood.publishing.publish import PastDay, publish_run
from rubert_ood.publishing.run_before import run_before
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import write_diff
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.settings import BackfillSettings, ScoreSettings
from rubert_ood.workflows.score import score, write_report

log = logging.getLogger(__name__)

WORST_FIRST = (1, 2, 6, 4, 5, 3)
"""Exit codes: a fault of ours, settings, what the same command may still finish, the gate, an input
that is missing."""


def backfill(settings: BackfillSettings) -> list[dict[str, Any]]:
    """Do day after day; return {run_date, outcome, churn_rate, run_uri, error} of each. The same
    command resumes.

    A day that fails stops no other. Raises RubertOodError at the end, with the exit code of the
    worst day.
    """
    num_days = (settings.to_date - settings.from_date).days + 1
    days = [settings.from_date + timedelta(days=number) for number in range(num_days)]
    results, errors = [], []
    with ray_session(settings):
        for day in days:
            result = {
                "run_date": day.isoformat(),
                "outcome": "failed",
                "churn_rate": None,
                "run_uri": None,
                "error": None,
            }
            try:
                result |= _score_day(settings, day)
            except RubertOodError as error:
                log.error("backfill  %s: %s", day, error)
                errors.append(error)
                result["error"] = str(error)
            results.append(result)
    for result in results:
        log.info("backfill  %s", _line(result))
    if errors:
        worst = min(errors, key=lambda error: WORST_FIRST.index(error.exit_code))
        summed = RubertOodError(f"{len(errors)} of {num_days} day(s) failed, the worst: {worst}")
        summed.exit_code = worst.exit_code
        raise summed
    return results


def _line(result: dict[str, Any]) -> str:
    churn = (
        "" if result["churn_rate"] is None else f"{result['churn_rate']:.2%} changed their label  "
    )
    return (
        f"{result['run_date']}  {result['outcome']:<9} "
        f" {churn}{result['error'] or result['run_uri']}"
    )


def _score_day(settings: BackfillSettings, day: date) -> dict[str, Any]:
    """Score a day, compare it, publish it; a day that is published already is left as it is."""
    manifest = score(_score_settings(settings, day))
    if manifest["outcome"] == "published":
        churn = [check["value"] for check in manifest["gate"] if check["check"] == "max_churn"]
        return {
            "outcome": "published",
            "run_uri": manifest["run_uri"],
            "churn_rate": churn[0] if churn else None,
        }
    places = [look(root_uri) for root_uri in (day_uri(manifest["run_uri"]), manifest["output_uri"])]
    before = run_before(manifest["run_uri"], places)
    churn_rate, changes = None, None
    if before is None:
        log.info("diff      none: %s had no run before", day)
    else:
        document = compare_runs(before["run_uri"], manifest["run_uri"])
        write_diff(document, storage.join(manifest["run_uri"], "_run"))
        churn_rate, changes = document["churn_rate"], changed_labels(document)
    if settings.publish:
        try:
            publish_run(manifest, settings.gate, day=PastDay(before, churn_rate))
        finally:
            manifest = read_manifest(manifest["run_uri"])
            write_report(manifest["run_uri"], manifest, before, changes)
    return {
        "outcome": manifest["outcome"],
        "run_uri": manifest["run_uri"],
        "churn_rate": churn_rate,
    }


def _score_settings(settings: BackfillSettings, day: date) -> ScoreSettings:
    """Return the settings of one day's run; they have been checked, so no source is read again."""
    shared = ScoreSettings.model_fields.keys() & BackfillSettings.model_fields.keys()
    values = {name: getattr(settings, name) for name in shared}
    input_uri = settings.input_uri.replace("{run_date}", day.isoformat())
    own = {"input_uri": input_uri, "run_date": day, "publish": False, "report_changes": False}
    return ScoreSettings.model_construct(**values | own)

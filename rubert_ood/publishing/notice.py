"""What people are told of the end of a run or of a backfill: the log, and a webhook."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rubert_ood.errors import (
    ErrorRateError,
    PartialRunError,
    PublicationRefusedError,
    RubertOodError,
    reason_of,
)
from rubert_ood.operating.notify import Value, notify
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import POINTER_FILE, Place, look, named_by
from rubert_ood.publishing.seen import is_older
from rubert_ood.runs.manifest import Manifest, find_manifest
from rubert_ood.runs.plan import Plan
from rubert_ood.settings import BackfillSettings, Event, ScoreSettings

log = StepLog("run")
REFUSALS = (ErrorRateError, PublicationRefusedError)
STOPS = (PartialRunError, KeyboardInterrupt)
REFUSED = {error.exit_code for error in REFUSALS}


def tell_end(settings: ScoreSettings, manifest: Manifest) -> None:
    """Tell how a run ended: published, or complete."""
    event: Event = "published" if manifest.outcome == "published" else "complete"
    notify(settings.notify, event, _of_run(manifest, event))


@dataclass
class Told:
    """What is known of a run when an error ends it."""

    run_uri: str | None = None


@contextmanager
def errors_told(settings: ScoreSettings) -> Iterator[Told]:
    """Tell what stops a run, and let it pass; the run is filled in once it is planned."""
    told = Told()
    try:
        yield told
    except (Exception, KeyboardInterrupt) as error:
        event = event_of(error)
        manifest = _manifest_of(told.run_uri) if event in settings.notify.on else None
        said: dict[str, Value] = {"event": event, "job": "score", "run_uri": told.run_uri}
        if manifest is not None:
            said = _of_run(manifest, event)
        said |= {"run_date": settings.run_date.isoformat(), "error": reason_of(error)}
        notify(settings.notify, event, said)
        raise


def _manifest_of(run_uri: str | None) -> Manifest | None:
    try:
        return find_manifest(run_uri) if run_uri else None
    except RubertOodError:  # the storage may be what stopped the run
        return None


@contextmanager
def backfill_told(settings: BackfillSettings) -> Iterator[None]:
    """Tell once how all days of a backfill ended, or what stopped it, and let that pass."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        _tell_backfill(settings, event_of(error), reason_of(error))
        raise
    _tell_backfill(settings, "published" if settings.publish else "complete", None)


def _tell_backfill(settings: BackfillSettings, event: Event, error: str | None) -> None:
    said: dict[str, Value] = {
        "event": event,
        "job": "backfill",
        "run_date": f"{settings.from_date} to {settings.to_date}",
        "error": error,
    }
    notify(settings.notify, event, said)


def say_what_is_missing(manifest: Manifest) -> None:
    """Log what a complete run lacks."""
    num_files, num_shards = len(manifest.quarantined), len(manifest.quarantined_shards)
    num_duplicates = manifest.duplicates.rows if manifest.duplicates else 0
    num_shards_alone = manifest.counts.shards_without_index
    if num_shards_alone:
        log.warning(
            "scored every text of %s, which found no index to reuse",
            count_of(num_shards_alone, "shard"),
        )
    if num_files or num_shards or num_duplicates:
        log.warning(
            "the run lacks %s and %s, and has %s",
            count_of(num_files, "quarantined file"),
            count_of(num_shards, "quarantined shard"),
            count_of(num_duplicates, "duplicate id"),
        )


def say_published_already(found: Manifest, catalogue: Place) -> None:
    """Log that nothing is left to do of a published run, or what readers see instead of it."""
    run_uri, log = found.run_uri, StepLog("published")
    if named_by(run_uri):
        log.info("%s is published already, nothing to do", run_uri)
    elif catalogue.remembers(run_uri) or is_older(found, catalogue):
        back = "Readers see a later run: `publish --force REASON` goes back to this one"
        log.info("%s is published already, nothing to do. %s", run_uri, back)
    else:
        log.warning(
            "%s is published already, but no pointer names it any more. Restore %s,"
            " or run `publish` on this run",
            run_uri,
            POINTER_FILE,
        )


def warn_if_late(plan: Plan, *, publish: bool) -> None:
    """Say before hours of work that the run will not be published; the publisher decides."""
    pointer = look(plan.output_uri).pointer
    if publish and pointer and pointer.run_date > plan.run_date:
        log.warning(
            "scores this run without publishing it, because readers see a later day (%s)",
            pointer.path,
        )


def event_of(error: BaseException) -> Event:
    """Return which end an error is: by its class, or by the exit code of one that sums others."""
    exit_code = getattr(error, "exit_code", 0)
    if isinstance(error, REFUSALS) or exit_code in REFUSED:
        return "refused"
    if isinstance(error, STOPS) or exit_code == PartialRunError.exit_code:
        return "partial"
    return "failed"


def _of_run(manifest: Manifest, event: Event) -> dict[str, Value]:
    counts = manifest.counts
    scored = max(counts.rows_scored, 1)
    return {
        "event": event,
        "job": "score",
        "run_date": manifest.run_date,
        "run_id": manifest.run_id,
        "run_uri": manifest.run_uri,
        "bundle": manifest.bundle.version,
        "rows_in": counts.rows_in,
        "rows_scored": counts.rows_scored,
        "rows_rejected": counts.rows_rejected,
        "ood_share": round(counts.rows_ood / scored, 6),
        "other_share": round(counts.rows_other / scored, 6),
        "elapsed_s": round(manifest.elapsed_s, 1),
        "cost": manifest.cost.text if manifest.cost else None,
        "error": None,
    }

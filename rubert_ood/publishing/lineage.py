"""When a data catalogue is told of a run: once it is planned, and at its end, by OpenLineage."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import NAMESPACE_URL, uuid5

from rubert_ood.clock import utc_now
from rubert_ood.operating.lineage import Sender, open_sender
from rubert_ood.publishing.lineage_events import End, Start, run_event
from rubert_ood.publishing.notice import event_of, reason_of
from rubert_ood.runs.manifest import Manifest, find_manifest
from rubert_ood.runs.plan import Plan
from rubert_ood.settings import ScoreSettings

JOB = "score"
KIND_OF = {"refused": "FAIL", "failed": "FAIL", "partial": "ABORT"}


class Lineage:
    """Tells of one start: START, then one end. Without a sender it tells nothing."""

    def __init__(self, settings: ScoreSettings, sender: Sender | None) -> None:
        """Send nothing yet."""
        self._settings, self._sender = settings, sender
        self._start: Start | None = None

    def planned(self, plan: Plan) -> None:
        """Tell that a start of this plan has begun."""
        if self._sender is None:
            return
        now = utc_now("microseconds")
        start = Start(
            plan=plan.without_shards(),
            rows_planned=plan.num_rows,
            run_id=str(uuid5(NAMESPACE_URL, f"{plan.run_uri} {now}")),
            namespace=self._settings.lineage.namespace,
            job=JOB,
            time_zone=self._settings.run_timezone,
        )
        self._start = start
        self._sender.send("START", lambda: run_event(start, now))

    def ended(self, manifest: Manifest) -> None:
        """Tell that the run is whole: published, or complete."""
        self._end(End("COMPLETE", manifest.outcome))

    def stopped(self, error: BaseException) -> None:
        """Tell what stopped the start, once it was planned."""
        event = event_of(error)
        outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else event
        self._end(End(KIND_OF[event], outcome, reason_of(error)))

    def close(self) -> None:
        """Wait for what is not sent yet, as long as the settings say."""
        if self._sender is not None:
            self._sender.close(self._settings.lineage.timeout_s)

    def _end(self, end: End) -> None:
        start, self._start = self._start, None  # one end
        if self._sender is None or start is None:
            return
        now = utc_now("microseconds")

        def make() -> object:
            return run_event(start, now, end, find_manifest(start.plan.run_uri))

        self._sender.send(end.kind, make)


@contextmanager
def lineage_of(settings: ScoreSettings) -> Iterator[Lineage]:
    """Tell OpenLineage of a start, and let what stops it pass.

    Raises SettingsError where events are wanted and the extra is missing.
    """
    sender = open_sender() if settings.lineage.send else None
    lineage = Lineage(settings, sender)
    try:
        yield lineage
    except BaseException as error:  # a START without an end would run for ever
        lineage.stopped(error)
        raise
    finally:
        lineage.close()

"""When a data catalogue is told of a start: once its work is planned, and at its end, by
OpenLineage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import NAMESPACE_URL, uuid5

from rubert_ood.clock import utc_now
from rubert_ood.errors import reason_of
from rubert_ood.operating.lineage import Sender, open_sender
from rubert_ood.publishing.lineage_events import End, Start, run_event
from rubert_ood.publishing.notice import event_of
from rubert_ood.runs.manifest import Manifest, find_manifest
from rubert_ood.runs.plan import Plan
from rubert_ood.settings import LineageSettings, ScoreSettings

JOB = "score"
KIND_OF = {"refused": "FAIL", "failed": "FAIL", "partial": "ABORT"}
MakeEvent = Callable[[str, End | None], object]
"""Makes the event of an ISO time: of the start, or of its end."""
T = TypeVar("T", bound="Teller")


class Teller:
    """Tells of one start: START, then one end. Without a sender it tells nothing."""

    def __init__(self, settings: LineageSettings, sender: Sender | None) -> None:
        """Send nothing yet."""
        self._settings, self._sender = settings, sender
        self._make: MakeEvent | None = None

    def begin(self, make: MakeEvent, now: str) -> None:
        """Tell that the work is planned, and keep what makes the event of its end."""
        if self._sender is not None:
            self._make = make
            self._sender.send("START", lambda: make(now, None))

    def end(self, end: End, make: MakeEvent | None = None) -> None:
        """Tell how the start ended, if it was begun; what comes after that is not told.

        `make` is that of a start of which more is known by now.
        """
        begun, self._make = self._make, None
        if self._sender is None or begun is None:
            return
        chosen, now = make or begun, utc_now("microseconds")
        self._sender.send(end.kind, lambda: chosen(now, end))

    def stopped(self, error: BaseException) -> None:
        """Tell what stopped the start, once it was planned."""
        event = event_of(error)
        outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else event
        self.end(End(KIND_OF[event], outcome, reason_of(error)))

    def close(self) -> None:
        """Wait for what is not sent yet, as long as the settings say."""
        if self._sender is not None:
            self._sender.close(self._settings.timeout_s)


class Lineage(Teller):
    """Tells of one start of a run."""

    def __init__(self, settings: ScoreSettings, sender: Sender | None) -> None:
        """Send nothing yet."""
        super().__init__(settings.lineage, sender)
        self._namespace = settings.lineage.namespace
        self._time_zone = settings.run_timezone

    def planned(self, plan: Plan) -> None:
        """Tell that a start of this plan has begun."""
        now = utc_now("microseconds")
        start = Start(
            plan=plan.without_shards(),
            rows_planned=plan.num_rows,
            run_id=start_id(plan.run_uri, now),
            namespace=self._namespace,
            job=JOB,
            time_zone=self._time_zone,
        )

        def make(at: str, end: End | None) -> object:
            return run_event(start, at, end, find_manifest(plan.run_uri) if end else None)

        self.begin(make, now)

    def ended(self, manifest: Manifest) -> None:
        """Tell that the run is whole: published, or complete."""
        self.end(End("COMPLETE", manifest.outcome))


def start_id(uri: str, now: str) -> str:
    """Return the UUID of a start of what lies at a URI, at an ISO time."""
    return str(uuid5(NAMESPACE_URL, f"{uri} {now}"))


def sender_of(settings: LineageSettings) -> Sender | None:
    """Open a sender where events are wanted; SettingsError where the extra is missing."""
    return open_sender() if settings.send else None


@contextmanager
def telling(teller: T) -> Iterator[T]:
    """Tell of a start, and let what stops it pass."""
    try:
        yield teller
    except BaseException as error:  # a START without an end would run for ever
        teller.stopped(error)
        raise
    finally:
        teller.close()


@contextmanager
def lineage_of(settings: ScoreSettings) -> Iterator[Lineage]:
    """Tell OpenLineage of a start of a run.

    Raises SettingsError where events are wanted and the extra is missing.
    """
    with telling(Lineage(settings, sender_of(settings.lineage))) as lineage:
        yield lineage

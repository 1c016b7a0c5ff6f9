"""What a publisher sees before it writes: the run, the pointers, and the runs that they name."""

from dataclasses import dataclass
from datetime import datetime

from rubert_ood import storage
from rubert_ood.errors import PartialRunError, PublicationRefusedError, RubertOodError
from rubert_ood.progress import StepLog
from rubert_ood.publishing.gate import gate_error, nothing_scored
from rubert_ood.publishing.pointer import Place, day_uri, look
from rubert_ood.publishing.run_before import run_before
from rubert_ood.runs.manifest import Check, Manifest, manifest_and_version

log = StepLog("gate")


@dataclass(frozen=True)
class Comparison:
    """What a backfill has compared a run of a past day with."""

    before: Manifest | None
    """The run that the day had before, as `run_before` finds it."""
    churn_rate: float | None
    """Share of the ads in both runs whose label changed."""


@dataclass(frozen=True)
class Seen:
    """A run that may be published, and what lay on storage at one look."""

    manifest: Manifest
    """As it is counted now."""
    noted: Manifest | None
    """As it lies in the run folder."""
    version: str
    """Of the noted manifest."""
    places: list[Place]
    """Pointers that may come to name the run; the first one must, the last is the catalogue's."""
    compared: Comparison | None
    """None for the night's run, which has but the pointer of the catalogue."""

    @classmethod
    def look(cls, manifest: Manifest, compared: Comparison | None) -> "Seen":
        """Read the manifest of a run, then the pointers."""
        noted, version = manifest_and_version(manifest.run_uri)
        roots = [] if compared is None else [day_uri(manifest.run_uri)]
        roots.append(manifest.output_uri)
        places = [look(root_uri) for root_uri in roots]
        return cls(manifest, noted, version, places, compared)

    @property
    def was_published(self) -> bool:
        """Whether readers see, or have seen, this run."""
        run_uri = self.manifest.run_uri
        seen = any(
            place.names(run_uri) or place.remembers(run_uri) for place in self.places
        )
        return seen or (self.noted is not None and self.noted.outcome == "published")

    def targets(self, *, force: bool) -> list[Place]:
        """Return the pointers to swap; those behind the first one only go forward in time."""
        first, *others = self.places
        forward = [place for place in others if not is_older(self.manifest, place)]
        return [place for place in (first, *forward) if self._is_new_to(place, force)]

    def _is_new_to(self, place: Place, force: bool) -> bool:
        run_uri = self.manifest.run_uri
        return not place.names(run_uri) and (force or not place.remembers(run_uri))

    def replaced(self, targets: list[Place]) -> Manifest | None:
        """Return the run that the gate compares with: the one that readers see now.

        PartialRunError if it is a past day, and another run than the compared one came before.
        """
        run_uri, catalogue = self.manifest.run_uri, self.places[-1]
        newest = manifest_at(catalogue, other_than=run_uri)
        if self.compared is None:
            return newest
        now = run_before(run_uri, self.places)
        if _uri_of(now) != _uri_of(self.compared.before):
            raise PartialRunError(
                f"{run_uri}: another run of this day was published"
                " meanwhile. Run the same command again to compare with it"
            )
        goes_on = catalogue in targets or catalogue.names(run_uri)
        return (newest or now) if goes_on else (now or newest)

    def refusal(self, targets: list[Place], gate: list[Check]) -> RubertOodError | None:
        """Return the error that says why a run may not be published; None when it may."""
        refusal = nothing_scored(self.manifest) or gate_error(self.manifest.run_uri, gate)
        if refusal:
            return refusal
        for place in targets:
            if is_older(self.manifest, place):
                return self._too_old(place)
        return None

    def _too_old(self, place: Place) -> PublicationRefusedError:
        run, named = self.manifest, place.pointer
        assert named is not None
        back = "Run `publish --force REASON` to go back to it"
        if place.root_uri != run.output_uri:
            back = f"Run `rollback --output_uri {place.root_uri}` first"
        own = f"run_date {run.run_date}, finished {run.finished_at}"
        other = f"run_date {named.run_date}, finished {_finished_at(place)}"
        return PublicationRefusedError(
            f"{run.run_uri}: this run is kept but not published, because it"
            f" is older ({own}) than {named.path} ({other}), which"
            f" {place.uri} names. {back}"
        )


def check_not_rolled_back(
    noted: Manifest | None, places: list[Place], run_uri: str
) -> None:
    """Raise PublicationRefusedError when the run was taken back; `noted` is its manifest."""
    reasons = list[str]()
    if noted is not None and noted.outcome == "rolled_back":
        reasons.append(noted.rollback_reason)
    for place in places:
        if place.pointer is None or not place.took_back(run_uri):
            continue
        last = place.pointer.rolled_back
        is_this = last is not None and last.path == place.path_of(run_uri)
        reasons.append(last.reason if last and is_this else f"{place.uri} says so")
    if reasons:
        reason = next(filter(None, reasons), "no reason given")
        raise PublicationRefusedError(
            f"{run_uri}: this run was rolled back ({reason}). Run `publish"
            " --force REASON` to publish it again"
        )


def manifest_at(place: Place, *, other_than: str = "") -> Manifest | None:
    """Return the manifest of the run that a pointer names, unless that is `other_than` or is
    gone."""
    if place.pointer is None or place.names(other_than):
        return None
    run_uri = storage.join(place.root_uri, place.pointer.path)
    found, _ = manifest_and_version(run_uri)
    if found is None:  # removed by retention, say: nothing to be compared with
        log.warning(
            "%s, the last published run, is gone. The gate compares with nothing", run_uri
        )
    return found


def is_older(manifest: Manifest, place: Place) -> bool:
    """Say whether a run is older than the one that a pointer names; of the same second none is."""
    named = place.pointer
    if named is None or manifest.run_date > named.run_date:
        return False
    if manifest.run_date < named.run_date:
        return True
    finished_at = _finished_at(place)
    return finished_at is not None and _time(manifest.finished_at) < _time(finished_at)


def _finished_at(place: Place) -> str | None:
    """Return when the run that a pointer names was finished; None if nothing says so any more."""
    if place.pointer and place.pointer.finished_at:
        return place.pointer.finished_at
    named = manifest_at(place)
    return named.finished_at if named else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _uri_of(manifest: Manifest | None) -> str | None:
    return manifest.run_uri if manifest else None

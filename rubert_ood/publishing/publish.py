"""Publish a run, or take one back: by gate, in one swap of each pointer, and never back in time.

A pointer moves only to a run that is not older than the one it names (run_date, then finished_at),
was not published before, and was not rolled back; other ways are `rollback` and `publish --force`.
A backfill moves the pointer of its day, and that of the catalogue only where that goes forward.
The outcome is noted after the pointers, which are the truth. Nothing that was published is
overwritten or deleted.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rubert_ood import storage
from rubert_ood.errors import PartialRunError, PublicationRefusedError, RubertOodError
from rubert_ood.publishing.gate import (
    check_churn,
    check_gate,
    gate_error,
    nothing_scored,
)
from rubert_ood.publishing.pointer import (
    POINTER_FILE,
    Place,
    day_uri,
    is_swapped,
    look,
    named_by,
    naming,
    swap,
)
from rubert_ood.publishing.run_before import run_before
from rubert_ood.runs.manifest import (
    SWAP_ATTEMPTS,
    manifest_and_version,
    manifest_bytes,
    manifest_uri,
    revise_manifest,
    swap_manifest,
)
from rubert_ood.settings import GateSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PastDay:
    """What a backfill has compared a run of its day with."""

    before: dict[str, Any] | None
    """Manifest of the run that the day had before, as `run_before` finds it."""
    churn_rate: float | None
    """Share of the ads in both runs whose label changed."""


def publish_run(
    manifest: dict[str, Any],
    settings: GateSettings,
    *,
    force: str | None = None,
    claim: Callable[[], object] = lambda: None,
    day: PastDay | None = None,
) -> dict[str, Any]:
    """Apply the gate and swap the pointer, of a backfill those of `day` and catalogue.

    Returns the manifest as noted. `force` is the reason to publish whatever stands against it.
    `claim` raises PartialRunError when another start holds the run. All is asked again, and the
    gate compares with the run that is really replaced, when another publisher is faster. A run that
    was published before is noted as such, and stays where it is: in the history. Raises
    ErrorRateError or PublicationRefusedError; the output is kept, and the manifest says why.
    """
    run_uri, output_uri = manifest["run_uri"], manifest["output_uri"]
    for attempt in range(SWAP_ATTEMPTS):
        found, version = manifest_and_version(run_uri)
        places = [look(root_uri) for root_uri in ([day_uri(run_uri)] if day else []) + [output_uri]]
        claim()  # after the look: whatever a newer start writes is another version
        if not force:
            check_not_rolled_back(found, places, run_uri)
        targets = [place for place in places if _moves(place, manifest, force, day)]
        gate = check_gate(manifest, _replaced(manifest, places, targets, day), settings)
        gate += check_churn(day.churn_rate, settings) if day else []
        refusal = None if force else _refusal(manifest, targets, gate)
        was_published = _was_published(found, places, run_uri)
        if refusal and was_published:
            raise refusal
        noted = _noted(manifest, gate, force, refusal)
        if was_published:
            noted["outcome"] = "published"
        if noted != found and not swap_manifest(noted, version):
            continue  # a reader who follows the pointer finds everything
        if refusal:
            raise refusal
        if not attempt and storage.ignores_conditions(manifest_uri(run_uri), manifest_bytes(noted)):
            log.warning("publish   %s: %s", output_uri, UNSAFE)
        if all(_swap_to(place, noted, day) for place in targets):
            return _note_published(noted)
    raise PartialRunError(
        f"{output_uri}: other publishers swap {POINTER_FILE} all the time; publish again"
    )


UNSAFE = (
    "this server ignores the conditions of a put (If-Match, If-None-Match): "
    "two publishers at the same time may lose a run from the history, so start one at a time"
)


def _moves(place: Place, manifest: dict[str, Any], force: str | None, day: PastDay | None) -> bool:
    """Say whether to swap a pointer; that of the catalogue stops no backfill of an older day."""
    run_uri = manifest["run_uri"]
    if place.names(run_uri) or (place.remembers(run_uri) and not force):
        return False
    return day is None or place.root_uri != manifest["output_uri"] or not _is_older(manifest, place)


def _is_older(manifest: dict[str, Any], place: Place) -> bool:
    """Say whether a run is older than the one that a pointer names; of the same second none is."""
    named = place.pointer
    if named is None or manifest["run_date"] > named.run_date:
        return False
    if manifest["run_date"] < named.run_date:
        return True
    finished_at = _finished_at(place)
    return finished_at is not None and _time(manifest["finished_at"]) < _time(finished_at)


def _finished_at(place: Place) -> str | None:
    """Return when the run that a pointer names was finished; None if nothing says so any more."""
    if place.pointer and place.pointer.finished_at:
        return place.pointer.finished_at
    return (manifest_at(place) or {}).get("finished_at")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def check_not_rolled_back(found: dict[str, Any], places: list[Place], run_uri: str) -> None:
    """Raise PublicationRefusedError when the run was taken back; `found` is its manifest."""
    reason = found.get("rollback_reason") if found.get("outcome") == "rolled_back" else None
    for place in places:
        if place.took_back(run_uri):
            rolled_back = place.pointer.rolled_back if place.pointer else None
            this = rolled_back is not None and rolled_back.path == place.path_of(run_uri)
            reason = reason or (
                rolled_back.reason if rolled_back and this else f"{place.uri} says so"
            )
    if reason:
        raise PublicationRefusedError(
            f"{run_uri}: was rolled back ({reason}); to publish it again give --force REASON to"
            " `publish`"
        )


def _refusal(
    manifest: dict[str, Any], targets: list[Place], gate: list[dict[str, Any]]
) -> RubertOodError | None:
    """Return the error that says why a run may not be published; None when it may."""
    run_uri = manifest["run_uri"]
    refusal = nothing_scored(manifest) or gate_error(run_uri, gate)
    for place in targets:
        if not refusal and place.pointer and _is_older(manifest, place):
            back = "`publish --force REASON` goes back to it"
            if place.root_uri != manifest["output_uri"]:
                back = f"`rollback --output_uri {place.root_uri}` takes that one back first"
            refusal = PublicationRefusedError(
                f"{run_uri}: not published, output kept: it is older (run_date"
                f" {manifest['run_date']}, finished {manifest['finished_at']}) than"
                f" {place.pointer.path} (run_date {place.pointer.run_date}, finished"
                f" {_finished_at(place)}), which {place.uri} names; {back}"
            )
    return refusal


def _was_published(found: dict[str, Any], places: list[Place], run_uri: str) -> bool:
    seen = any(place.names(run_uri) or place.remembers(run_uri) for place in places)
    return seen or found.get("outcome") == "published"


def _replaced(
    manifest: dict[str, Any], places: list[Place], targets: list[Place], day: PastDay | None
) -> dict[str, Any] | None:
    """Return the manifest of the run that the gate compares with: the one that readers see now."""
    catalogue = places[-1]
    newest = manifest_at(catalogue, other_than=manifest["run_uri"])
    if day is None:
        return newest
    now = run_before(manifest["run_uri"], places)
    if (now or {}).get("run_uri") != (day.before or {}).get("run_uri"):
        raise PartialRunError(
            f"{manifest['run_uri']}: another run of this day came in between; the same command"
            " compares again"
        )
    goes_on = catalogue in targets or catalogue.names(manifest["run_uri"])
    return (newest or now) if goes_on else (now or newest)


def manifest_at(place: Place, *, other_than: str = "") -> dict[str, Any] | None:
    """Return the manifest of the run that a pointer names, unless that is `other_than` or is
    gone."""
    if place.pointer is None or place.names(other_than):
        return None
    run_uri = storage.join(place.root_uri, place.pointer.path)
    found, _ = manifest_and_version(run_uri)
    if not found:  # removed by retention, say: nothing to be compared with
        log.warning(
            "gate      %s is gone, so nothing is compared with the last published run", run_uri
        )
    return found or None


def _noted(
    manifest: dict[str, Any],
    gate: list[dict[str, Any]],
    force: str | None,
    refusal: RubertOodError | None,
) -> dict[str, Any]:
    """Return the manifest with what came out of the gate."""
    noted = {name: value for name, value in manifest.items() if name != "refusal_reason"}
    noted |= {"gate": gate, "forced": force}
    return noted | ({"outcome": "refused", "refusal_reason": str(refusal)} if refusal else {})


def _swap_to(place: Place, manifest: dict[str, Any], day: PastDay | None) -> bool:
    """Swap one pointer; say whether that took place, be it that other publishers followed."""
    history = place.pointer.runs if place.pointer else []
    before = day.before if day and place.root_uri == day_uri(manifest["run_uri"]) else None
    if not history and before and before["outcome"] == "published":
        history = [place.path_of(before["run_uri"])]  # so that `rollback` finds what the day had
    pointer = naming(place, manifest, history)
    return is_swapped(swap(place, pointer), pointer.path, place.pointer)


def _note_published(noted: dict[str, Any]) -> dict[str, Any]:
    """Note that a run is published, unless it was rolled back since the pointer was swapped."""
    run_uri = noted["run_uri"]

    def change(found: dict[str, Any]) -> dict[str, Any] | None:
        if found.get("outcome") == "rolled_back":
            return None
        return noted | {"outcome": "published", "pointers": named_by(run_uri)}

    return revise_manifest(run_uri, change)

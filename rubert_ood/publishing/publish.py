"""Publish a run: by gate, in one swap of each pointer, and never back in time.

A pointer moves only to a run that is not older than the one it names (run_date, then finished_at),
was not published before, and was not rolled back; other ways are `rollback` and `publish --force`.
A backfill moves the pointer of its day, and that of the catalogue only where that goes forward.
The outcome is noted after the pointers, which are the truth. Nothing that was published is
overwritten or deleted; the parts, which no reader takes, go.
"""

from collections.abc import Callable

from rubert_ood import storage
from rubert_ood.errors import RubertOodError
from rubert_ood.pointers.pointer import is_swapped, swap
from rubert_ood.progress import StepLog
from rubert_ood.publishing.gate import check_churn, check_gate, nothing_scored
from rubert_ood.publishing.pointer import (
    POINTER_FILE,
    Place,
    day_uri,
    named_by,
)
from rubert_ood.publishing.seen import Comparison, Seen, check_not_rolled_back
from rubert_ood.runs.manifest import (
    Check,
    Manifest,
    manifest_uri,
    revise_manifest,
    swap_manifest,
    until_swapped,
)
from rubert_ood.runs.parts import drop_parts
from rubert_ood.settings import GateSettings

log = StepLog("publish")
UNSAFE = (
    "this server ignores conditional puts (If-Match, If-None-Match). Start"
    " one publisher at a time, or the history may lose a run"
)


def publish_run(
    manifest: Manifest,
    settings: GateSettings,
    *,
    force: str | None = None,
    claim: Callable[[], object] = lambda: None,
    compared: Comparison | None = None,
) -> Manifest:
    """Apply the gate and swap the pointer, of a backfill those of its day and of the catalogue.

    Returns the manifest as noted. `force` is the reason to publish whatever stands against it.
    `claim` raises PartialRunError when another start has claimed the run. All is asked again, and
    the gate compares with the run that is really replaced, when another publisher is faster. A run
    that was published before is noted as such without asking the gate, and stays where it is, named
    or in the history. Raises ErrorRateError or PublicationRefusedError; the output is kept, and the
    manifest says why. The parts of a run that is published go: readers have its sealed files.
    """

    def attempt() -> Manifest | None:
        seen = Seen.look(manifest, compared)
        claim()  # after the look: whatever a newer start writes is another version
        if not force:
            check_not_rolled_back(seen.noted, seen.places, manifest.run_uri)
        targets = seen.targets(force=bool(force))
        gate = check_gate(manifest, seen.replaced(targets), settings)
        gate += check_churn(compared.churn_rate, settings) if compared else []
        is_mended = seen.was_published and not targets and not force
        refusal = None if force or is_mended else seen.refusal(targets, gate)
        if refusal and seen.was_published:
            _note_if_named(seen)
            raise refusal
        judged = _judged(seen, gate, force, refusal)
        if is_mended and seen.noted:  # by what it was published stays
            before = {"gate": seen.noted.gate, "forced": seen.noted.forced}
            judged = judged.model_copy(update=before)
        if judged != seen.noted and not swap_manifest(judged, seen.version):
            return None  # a reader who follows the pointer finds everything
        if refusal:
            raise refusal
        _warn_if_unsafe(judged)
        swapped = all(_swap(place, judged, compared) for place in targets)
        return note_published(judged) if swapped else None

    busy = f"other publishers keep swapping {POINTER_FILE}. Publish again"
    published = until_swapped(attempt, f"{manifest.output_uri}: {busy}")
    drop_parts(manifest.run_uri)
    return published


def keep_run(
    manifest: Manifest,
    previous: Manifest | None,
    settings: GateSettings,
    claim: Callable[[], object],
) -> None:
    """Record the gate of a run that is not to be published; ErrorRateError if nothing was
    scored."""
    changes: dict[str, object] = {"gate": check_gate(manifest, previous, settings)}
    empty = nothing_scored(manifest)
    if empty:
        changes |= {"outcome": "refused", "refusal_reason": str(empty)}
    judged = manifest.model_copy(update=changes)

    def change(found: Manifest | None) -> Manifest | None:
        return None if found and found.outcome in ("published", "rolled_back") else judged

    revise_manifest(manifest.run_uri, change, claim)
    if empty:
        raise empty


def _judged(
    seen: Seen, gate: list[Check], force: str | None, refusal: RubertOodError | None
) -> Manifest:
    """Return the manifest with what came out of the gate."""
    outcome = seen.manifest.outcome
    if refusal:
        outcome = "refused"
    elif seen.was_published:
        outcome = "published"
    reason = str(refusal) if refusal else ""
    changes = {
        "gate": gate,
        "forced": force,
        "outcome": outcome,
        "refusal_reason": reason,
    }
    return seen.manifest.model_copy(update=changes)


def _note_if_named(seen: Seen) -> None:
    """Note as published a run that the pointer of its day names, though that of the catalogue may
    not move to it any more."""
    names = named_by(seen.manifest.run_uri)
    if names and seen.noted and seen.noted.outcome != "published":
        note_published(seen.noted)
        log.warning("%s names this run all the same", " and ".join(names))


def _warn_if_unsafe(judged: Manifest) -> None:
    uri = manifest_uri(judged.run_uri)
    if storage.ignores_conditions(uri, storage.to_json(judged)):
        log.warning("%s: %s", judged.output_uri, UNSAFE)


def _swap(place: Place, manifest: Manifest, compared: Comparison | None) -> bool:
    """Swap one pointer; say whether that took place, even if other publishers followed."""
    pointer = place.pointer_to(manifest).replacing(place.pointer)
    before = compared.before if compared else None
    is_first_of_day = place.pointer is None and place.root_uri == day_uri(
        manifest.run_uri
    )
    if is_first_of_day and before and before.outcome == "published":
        history = [
            place.path_of(before.run_uri)
        ]  # so that `rollback` finds what the day had
        pointer = pointer.model_copy(update={"history": history})
    return is_swapped(swap(place, pointer), pointer.path, place.pointer)


def note_published(judged: Manifest) -> Manifest:
    """Note that a run is published, unless it was rolled back since the pointer was swapped."""
    run_uri = judged.run_uri

    def change(found: Manifest | None) -> Manifest | None:
        if found and found.outcome == "rolled_back":
            return None
        here = {"outcome": "published", "pointers": named_by(run_uri)}
        return judged.model_copy(update=here)

    return revise_manifest(run_uri, change) or judged

"""Take the run that readers see back: the pointer names the one before, and what it took back."""

from rubert_ood import storage
from rubert_ood.errors import InputError, PublicationRefusedError
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import POINTER_FILE, Pointer, look, named_by, swap
from rubert_ood.runs.manifest import (
    Manifest,
    read_manifest,
    revise_manifest,
    until_swapped,
)

log = StepLog("rollback")


def roll_back(root_uri: str, reason: str) -> Pointer:
    """Let a pointer name the run that was published before; return the new pointer.

    Raises InputError when there is none, or when it is not whole enough any more to be read, and
    PublicationRefusedError when another run is published in the meantime: nobody has seen that one.
    """
    bad = ""

    def attempt() -> Pointer | None:
        nonlocal bad
        place = look(root_uri)
        older = place.pointer
        if older is None or not older.history:
            runs = "no run" if older is None else "only one run"
            raise InputError(f"{root_uri}: {runs} was published; no way back")
        if bad not in ("", older.path):
            raise PublicationRefusedError(
                f"{place.uri}: not rolled back, {older.path} was published meanwhile; "
                "look at that one, then start again"
            )
        bad = older.path
        target = read_manifest(storage.join(root_uri, older.history[0]))
        now = swap(place, place.pointer_to(target).taking_back(older, reason))
        return now if now is not None and bad in now.taken_back else None

    busy = f"other publishers swap {POINTER_FILE} all the time; roll back again"
    pointer = until_swapped(attempt, f"{root_uri}: {busy}")
    _note_rollback(storage.join(root_uri, bad), reason)
    return pointer


def _note_rollback(run_uri: str, reason: str) -> None:
    """Note in the manifest of a run that a pointer no longer names it; another one still may."""

    def change(found: Manifest | None) -> Manifest | None:
        if found is None:
            return None
        pointers = named_by(run_uri)
        if pointers:
            names = " and ".join(pointers)
            log.warning("%s still names that run; roll it back there too", names)
            return found.model_copy(update={"pointers": pointers})
        taken_back = {"outcome": "rolled_back", "rollback_reason": reason, "pointers": []}
        return found.model_copy(update=taken_back)

    try:
        if revise_manifest(run_uri, change) is None:
            log.warning(
                "%s: the run that was taken back has no manifest any more", run_uri
            )
    except InputError as error:
        log.warning(
            "the manifest of the run that was taken back cannot be read: %s", error
        )

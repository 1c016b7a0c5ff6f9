"""Take the run that readers see back: the pointer names the one before, and what it took back."""

import logging
from typing import Any

from rubert_ood import storage
from rubert_ood.errors import InputError, PartialRunError, PublicationRefusedError
from rubert_ood.publishing.pointer import (
    MAX_HISTORY,
    POINTER_FILE,
    Pointer,
    TakenBack,
    look,
    named_by,
    naming,
    swap,
)
from rubert_ood.runs.manifest import SWAP_ATTEMPTS, read_manifest, revise_manifest

log = logging.getLogger(__name__)


def roll_back(root_uri: str, reason: str) -> Pointer:
    """Let a pointer name the run that was published before; return the new pointer.

    Raises InputError when there is none, or when it is no longer whole enough to be read, and
    PublicationRefusedError when another run is published in the meantime: nobody has seen that one.
    """
    bad = ""
    for _ in range(SWAP_ATTEMPTS):
        place = look(root_uri)
        older = place.pointer
        if older is None or not older.history:
            raise InputError(
                f"{root_uri}: {'no run' if older is None else 'only one run'} was published; no way"
                " back"
            )
        if bad not in ("", older.path):
            raise PublicationRefusedError(
                f"{place.uri}: not rolled back, {older.path} was published meanwhile; "
                "look at that one, then start again"
            )
        bad = older.path
        target = read_manifest(storage.join(root_uri, older.history[0]))
        changes = {
            "taken_back": [bad, *older.taken_back][:MAX_HISTORY],
            "rolled_back": TakenBack(path=bad, reason=reason),
        }
        now = swap(place, naming(place, target, older.history[1:]).model_copy(update=changes))
        if now is not None and bad in now.taken_back:
            _note_rollback(storage.join(root_uri, bad), reason)
            return now
    raise PartialRunError(
        f"{root_uri}: other publishers swap {POINTER_FILE} all the time; roll back again"
    )


def _note_rollback(run_uri: str, reason: str) -> None:
    """Note in the manifest of a run that a pointer no longer names it; another one still may."""

    def change(found: dict[str, Any]) -> dict[str, Any] | None:
        if not found:
            return None
        pointers = named_by(run_uri)
        if pointers:
            log.warning(
                "rollback  %s still names that run; roll it back there too", " and ".join(pointers)
            )
            return found | {"pointers": pointers}
        return found | {"outcome": "rolled_back", "rollback_reason": reason, "pointers": []}

    try:
        if not revise_manifest(run_uri, change):
            log.warning(
                "rollback  %s: the run that was taken back has no manifest any more", run_uri
            )
    except InputError as error:
        log.warning(
            "rollback  the manifest of the run that was taken back cannot be read: %s", error
        )

"""Take the run that readers see back: the pointer names the one before, and what it took back."""

from rubert_ood import storage
from rubert_ood.errors import RubertOodError
from rubert_ood.pointers.take_back import take_back
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import Place, Pointer, look, named_by
from rubert_ood.runs.manifest import Manifest, read_manifest, revise_manifest

log = StepLog("rollback")


def roll_back(root_uri: str, reason: str) -> Pointer:
    """Swap a pointer back to the run that was published before; return it.

    Raises InputError when there is none, or when its folder can no longer be read, and
    PublicationRefusedError when another run is published in the meantime: nobody has seen that
    one.
    """
    place = Place(root_uri, None, "")

    def pointer_to(run_uri: str) -> Pointer:
        return place.pointer_to(read_manifest(run_uri))

    pointer, bad = take_back(lambda: look(root_uri), pointer_to, reason)
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
            log.warning("%s still names that run. Roll it back there too", names)
            return found.model_copy(update={"pointers": pointers})
        taken_back = {"outcome": "rolled_back", "rollback_reason": reason, "pointers": []}
        return found.model_copy(update=taken_back)

    try:
        if revise_manifest(run_uri, change) is None:
            log.warning(
                "%s: the run was rolled back, but its manifest is missing", run_uri
            )
    except RubertOodError as error:  # started again, `rollback` would take one more back
        log.warning(
            "the run was rolled back, but its manifest does not say so: %s", error
        )

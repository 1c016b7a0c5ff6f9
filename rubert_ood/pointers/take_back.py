"""Take back what a pointer names: it then names what was before, and says what it took back."""

from collections.abc import Callable

from rubert_ood import storage
from rubert_ood.errors import (
    InputError,
    PublicationRefusedError,
    StorageUnavailableError,
)
from rubert_ood.pointers.pointer import P, PlaceOf, swap
from rubert_ood.runs.manifest import until_swapped


def take_back(
    look: Callable[[], PlaceOf[P]],
    pointer_to: Callable[[str], P],
    reason: str,
) -> tuple[P, str]:
    """Swap a pointer back to what it named before; return it, and the path that was taken back.

    `pointer_to` makes a pointer to the folder of a URI, and raises when the folder can no longer
    be read. Raises InputError when nothing was named before, and PublicationRefusedError when
    something else is named in the meantime: nobody has seen that one. StorageUnavailableError says
    where it is not known whether the swap took place.
    """
    seen = look()
    root_uri, kind, bad = seen.root_uri, seen.kind, ""

    def attempt() -> P | None:
        nonlocal bad
        place = look()
        older = place.pointer
        if older is None or not older.history:
            number = "no" if older is None else "only one"
            raise InputError(
                f"{root_uri}: {number} {kind.noun} was {kind.named} here,"
                " so nothing can be rolled back to"
            )
        if bad not in ("", older.path):
            raise PublicationRefusedError(
                f"{place.uri}: nothing was rolled back, because {older.path}"
                f" was {kind.named} meanwhile. Check that {kind.noun}, then"
                " start again"
            )
        bad = older.path
        before = storage.join(root_uri, older.history[0])
        target = pointer_to(before)
        try:
            now = swap(place, target.taking_back(older, reason))
        except StorageUnavailableError as error:
            raise StorageUnavailableError(
                f"{error}. {bad} may be rolled back all the same. Look at"
                f" {place.uri} before you start again, which would take one more back"
            ) from error
        is_back = now is not None and bad in now.taken_back
        return now if is_back else None

    busy = (
        f"{root_uri}: other {kind.publishers} keep swapping {kind.file}. Roll back again"
    )
    return until_swapped(attempt, busy), bad

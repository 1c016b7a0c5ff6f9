"""Put an object that other starts may put as well: create it, or replace one that is not good."""

from collections.abc import Callable

from rubert_ood import storage
from rubert_ood.runs.manifest import until_swapped


def settle(
    uri: str,
    data: bytes,
    check_claim: Callable[[], object],
    is_good: Callable[[bytes], bool],
) -> bytes:
    """Create an object, or replace one that is not good; return what is stored then.

    The claim is asked before each put, and after the look at what is there: so whatever a newer
    start writes is another version, and is not replaced. `check_claim` raises where this process
    may not write any more.
    """
    check_claim()
    if storage.create_bytes(uri, data):
        return data

    def attempt() -> bytes | None:
        found, version = storage.read_versioned(uri)
        if found is not None and (found == data or is_good(found)):
            return found
        check_claim()
        return data if storage.swap_bytes(uri, data, version) else None

    busy = "another process keeps writing this file. Run the same command again to resume"
    return until_swapped(attempt, f"{uri}: {busy}")

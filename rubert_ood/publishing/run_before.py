"""The run that a past day had before: what a backfill compares its new run with."""

from collections.abc import Iterator

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import Place, day_uri
from rubert_ood.runs.manifest import Manifest, find_manifest
from rubert_ood.storage.listing import list_folders

log = StepLog("backfill")


def run_before(run_uri: str, places: list[Place]) -> Manifest | None:
    """Return the manifest of the run that the day had before.

    That is the newest published one, else the newest complete one. Published runs are those that a
    pointer names or remembers; `places` has that of the day first.
    """
    for other_uri in _published(run_uri, places):
        found = find_manifest(other_uri)
        if found:
            return found
        log.warning("%s was published for this day, but its folder is gone", other_uri)
    return max(_complete(run_uri), key=_rank, default=None)


def _published(run_uri: str, places: list[Place]) -> Iterator[str]:
    """Yield the other runs of the day that were published, newest first."""
    for place in places:
        for path in place.pointer.paths if place.pointer else []:
            other_uri = storage.join(place.root_uri, path)
            if other_uri != run_uri and day_uri(other_uri) == day_uri(run_uri):
                yield other_uri


def _complete(run_uri: str) -> Iterator[Manifest]:
    """Yield the other runs of the day that are complete."""
    for other_uri in list_folders(day_uri(run_uri)):
        if other_uri == run_uri:
            continue
        try:
            found = find_manifest(other_uri)
        except InputError as error:  # no run of ours, or a damaged one that nobody reads
            log.warning(
                "ignores a folder of this day when it looks for the previous run: %s",
                error,
            )
            continue
        if found and found.outcome in ("published", "complete"):
            yield found


def _rank(manifest: Manifest) -> tuple[bool, str]:
    return manifest.outcome == "published", manifest.finished_at

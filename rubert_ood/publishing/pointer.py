"""The pointer: which run readers see, and the runs before it.

OUTPUT/latest.json is that of the catalogue, OUTPUT/run_date=.../latest.json that of a day, once it
was backfilled.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter

from rubert_ood import storage
from rubert_ood.clock import utc_now
from rubert_ood.pointers.pointer import Kind, PlaceOf, PointerRecord, find
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.record import Day, Moment

POINTER_FILE = "latest.json"
MEND = "Restore it: without it nothing is published, and no run can come back"


class Pointer(PointerRecord):
    """What stands in latest.json. Only `path` and `history` are for readers."""

    run_id: str
    run_date: Day
    bundle: str = ""
    published_at: str = ""
    finished_at: Moment | None = None
    """When the run was finished; 0.2.0 did not write it."""


RUNS = Kind(
    file=POINTER_FILE,
    schema=TypeAdapter(Pointer),
    mend=MEND,
    noun="run",
    named="published",
    publishers="publishers",
)


@dataclass(frozen=True)
class Place(PlaceOf[Pointer]):
    """The root of a pointer to a run, and the pointer that was read there."""

    kind: Kind[Pointer] = RUNS

    def pointer_to(self, manifest: Manifest) -> Pointer:
        """Return a pointer to a run that is published now, without a memory."""
        return Pointer(
            path=self.path_of(manifest.run_uri),
            run_id=manifest.run_id,
            run_date=manifest.run_date,
            bundle=manifest.bundle.fingerprint,
            published_at=utc_now("milliseconds"),
            finished_at=manifest.finished_at,
        )


def look(root_uri: str) -> Place:
    """Read a pointer; InputError when it is damaged."""
    return Place(root_uri, *find(root_uri, RUNS))


def read_pointer(root_uri: str) -> Pointer | None:
    """Return the pointer, or None when nothing was published yet."""
    return look(root_uri).pointer


def day_uri(run_uri: str) -> str:
    """Return the folder of all runs of the day that a run belongs to."""
    return run_uri.rstrip("/").rpartition("/")[0]


def named_by(run_uri: str) -> list[str]:
    """Return the pointers, relative to OUTPUT, that name this run: of the catalogue, of its day."""
    run_uri = storage.absolute(run_uri)
    output_uri = run_uri.rsplit("/", 2)[0]
    places = [look(root_uri) for root_uri in (output_uri, day_uri(run_uri))]
    return [
        place.uri[len(output_uri) :].strip("/")
        for place in places
        if place.names(run_uri)
    ]

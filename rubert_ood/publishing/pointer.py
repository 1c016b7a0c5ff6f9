"""The pointer: which run readers see, and the runs before it. It is swapped in one conditional put.

OUTPUT/latest.json is that of the catalogue, OUTPUT/run_date=.../latest.json that of a day, once it
was backfilled. The root of a pointer is the folder in which it lies, and from which its paths go.
"""

from dataclasses import dataclass

from pydantic import Field, TypeAdapter

from rubert_ood import storage
from rubert_ood.clock import utc_now
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.record import Day, Moment, Record, RelativePath, parse

POINTER_FILE = "latest.json"
MAX_HISTORY = 30
"""Runs that a pointer remembers, for `rollback`."""
MEND = (
    "restore it; without it nothing counts as published, and no run can be rolled back to"
)


class TakenBack(Record):
    """The run that a rollback took back, and why."""

    path: RelativePath
    reason: str


class Pointer(Record):
    """What stands in latest.json. Only `path` and `history` are for readers."""

    path: RelativePath
    run_id: str
    run_date: Day
    bundle: str = ""
    published_at: str = ""
    finished_at: Moment | None = None
    """When the run was finished; 0.2.0 did not write it."""
    history: list[RelativePath] = Field([])
    """The runs that were published before, newest first."""
    taken_back: list[RelativePath] = Field([])
    """The runs that were rolled back and not published again, newest first."""
    rolled_back: TakenBack | None = None
    """What the rollback that wrote this pointer took back."""

    @property
    def runs(self) -> list[str]:
        """The run that readers see, and those before it."""
        return [self.path, *self.history]

    def replacing(self, older: "Pointer | None") -> "Pointer":
        """Return this pointer with the memory of the one in whose place it comes."""
        if older is None:
            return self
        history = [path for path in older.runs if path != self.path]
        taken_back = [path for path in older.taken_back if path != self.path]
        memory = {"history": history[:MAX_HISTORY], "taken_back": taken_back}
        return self.model_copy(update=memory)

    def taking_back(self, older: "Pointer", reason: str) -> "Pointer":
        """Return this pointer in the place of one whose run is taken back."""
        known = self.replacing(older)
        changes = {
            "history": [path for path in known.history if path != older.path],
            "taken_back": [older.path, *known.taken_back][:MAX_HISTORY],
            "rolled_back": TakenBack(path=older.path, reason=reason),
        }
        return known.model_copy(update=changes)


POINTER = TypeAdapter(Pointer)


@dataclass(frozen=True)
class Place:
    """The root of a pointer, and the pointer as it was when somebody looked."""

    root_uri: str
    pointer: Pointer | None
    version: str

    @property
    def uri(self) -> str:
        """Of the pointer itself."""
        return storage.join(self.root_uri, POINTER_FILE)

    def path_of(self, run_uri: str) -> str:
        """Return the path of a run below this root as pointers write it."""
        return run_uri[len(self.root_uri) :].strip("/")

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

    def names(self, run_uri: str) -> bool:
        """Say whether readers of this pointer see the run."""
        return self.pointer is not None and self.pointer.path == self.path_of(run_uri)

    def remembers(self, run_uri: str) -> bool:
        """Say whether the run was published before the one that is named now."""
        return self.pointer is not None and self.path_of(run_uri) in self.pointer.history

    def took_back(self, run_uri: str) -> bool:
        """Say whether the run was rolled back and not published again."""
        return (
            self.pointer is not None and self.path_of(run_uri) in self.pointer.taken_back
        )


def look(root_uri: str) -> Place:
    """Read a pointer; InputError when what lies there is none."""
    uri = storage.join(root_uri, POINTER_FILE)
    data, version = storage.read_versioned(uri)
    return Place(
        root_uri, None if data is None else parse(uri, data, POINTER, mend=MEND), version
    )


def read_pointer(root_uri: str) -> Pointer | None:
    """Return the pointer, or None when nothing was published yet."""
    return look(root_uri).pointer


def swap(place: Place, pointer: Pointer) -> Pointer | None:
    """Put a pointer if the one that was seen is still there; return the one that is there
    afterwards.

    It is read again whatever the answer says: that may be lost, and some servers ignore the
    condition.
    """
    data = storage.to_json(pointer.model_dump(exclude_none=True))
    storage.swap_bytes(place.uri, data, place.version)
    return read_pointer(place.root_uri)


def is_swapped(now: Pointer | None, path: str, older: Pointer | None) -> bool:
    """Say whether a swap from `older` to the run at `path` took place, be it that others
    followed."""
    if now is None or path not in now.runs:
        return False
    return older is None or older.path not in now.runs[: now.runs.index(path)]


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

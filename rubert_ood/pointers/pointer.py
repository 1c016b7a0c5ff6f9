"""A pointer: which of the folders beside it counts, and those that did before.

It is swapped in one conditional put. The root of a pointer is the folder in which it lies, and from
which its paths go.
"""

from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from pydantic import Field, TypeAdapter

from rubert_ood import storage
from rubert_ood.runs.record import Record, RelativePath, parse

MAX_HISTORY = 30
"""Folders that a pointer remembers, for `rollback`."""


class TakenBack(Record):
    """The folder that a rollback took back, and why."""

    path: RelativePath
    reason: str


class PointerRecord(Record):
    """What every pointer says. Readers need `path`, and `history`."""

    path: RelativePath
    history: list[RelativePath] = Field([])
    """The folders that were named before, newest first."""
    taken_back: list[RelativePath] = Field([])
    """Those that were rolled back and not named again, newest first."""
    rolled_back: TakenBack | None = None
    """What the rollback that wrote this pointer took back."""

    @property
    def paths(self) -> list[str]:
        """The folder that is named, and those before it."""
        return [self.path, *self.history]

    def replacing(self, older: Self | None) -> Self:
        """Return this pointer with the memory of the one in whose place it comes."""
        if older is None:
            return self
        history = [path for path in older.paths if path != self.path]
        taken_back = [path for path in older.taken_back if path != self.path]
        memory = {"history": history[:MAX_HISTORY], "taken_back": taken_back}
        return self.model_copy(update=memory)

    def taking_back(self, older: Self, reason: str) -> Self:
        """Return this pointer in the place of one whose folder is taken back."""
        known = self.replacing(older)
        changes = {
            "history": [path for path in known.history if path != older.path],
            "taken_back": [older.path, *known.taken_back][:MAX_HISTORY],
            "rolled_back": TakenBack(path=older.path, reason=reason),
        }
        return known.model_copy(update=changes)


P = TypeVar("P", bound=PointerRecord)


@dataclass(frozen=True)
class Kind(Generic[P]):
    """What a pointer of a kind is called, and how it is read."""

    file: str
    schema: TypeAdapter[P]
    mend: str
    """What the user shall do with one that is damaged."""
    noun: str
    """What it names, in messages."""
    named: str
    """What became of that when it was named."""
    publishers: str
    """Who else may swap it."""


@dataclass(frozen=True)
class PlaceOf(Generic[P]):
    """The root of a pointer, and the pointer that was read there."""

    root_uri: str
    pointer: P | None
    version: str
    kind: Kind[P]

    @property
    def uri(self) -> str:
        """Of the pointer itself."""
        return storage.join(self.root_uri, self.kind.file)

    def path_of(self, uri: str) -> str:
        """Return the path of a folder below this root as pointers write it."""
        return uri[len(self.root_uri) :].strip("/")

    def names(self, uri: str) -> bool:
        """Say whether readers of this pointer see the folder."""
        return self.pointer is not None and self.pointer.path == self.path_of(uri)

    def remembers(self, uri: str) -> bool:
        """Say whether the folder was named before the one that is named now."""
        return self.pointer is not None and self.path_of(uri) in self.pointer.history

    def took_back(self, uri: str) -> bool:
        """Say whether the folder was rolled back and not named again."""
        return self.pointer is not None and self.path_of(uri) in self.pointer.taken_back


def find(root_uri: str, kind: Kind[P]) -> tuple[P | None, str]:
    """Read a pointer, and its version for `swap`; InputError when it is damaged."""
    uri = storage.join(root_uri, kind.file)
    data, version = storage.read_versioned(uri)
    if data is None:
        return None, version
    return parse(uri, data, kind.schema, mend=kind.mend), version


def swap(place: PlaceOf[P], pointer: P) -> P | None:
    """Put a pointer if the one that was seen is still there; return the one that is there
    afterwards.

    It is read again whatever the answer says: that may be lost, and some servers ignore the
    condition.
    """
    data = storage.to_json(pointer.model_dump(exclude_none=True))
    storage.swap_bytes(place.uri, data, place.version)
    return find(place.root_uri, place.kind)[0]


def is_swapped(now: PointerRecord | None, path: str, older: PointerRecord | None) -> bool:
    """Say whether a swap from `older` to the folder at `path` took place, even if others
    followed."""
    if now is None or path not in now.paths:
        return False
    return older is None or older.path not in now.paths[: now.paths.index(path)]

"""What was exported before: a log of keys beside the exports, which holds no text and no id.

One file for each export, with a number that is one more than the last. It is created only where no
file is, so of two exports at once one comes first; the other reads what that took, and chooses
again. Until an export has its number, it has taken nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter

from rubert_ood import storage
from rubert_ood.progress import StepLog
from rubert_ood.runs.record import Moment, PlainName, Record, parse

log = StepLog("export")

FOLDER = "_register"
FORMAT = 1
UNSAFE = (
    "this server ignores conditional puts (If-None-Match). Start one export at a time,"
    " or two may take the same ad"
)


class Keys(Record):
    """The keys of one ad."""

    ad: str
    """Hash of its id, 16 hex digits."""
    text: str
    """text_key of the run: that of the text as the bundle cleans it."""
    plain: str
    """The same whatever the bundle: it removes no city names."""


class Entry(Record):
    """What one export took."""

    format: int = FORMAT
    export: PlainName
    created_at: Moment
    run_id: str
    ads: list[Keys]


ENTRY = TypeAdapter(Entry)


@dataclass
class Register:
    """The register of a folder of exports, as far as it was read."""

    output_uri: str
    num_read: int = 0
    ads: set[int] = field(default_factory=set)
    """Hashes of ids."""
    texts: set[str] = field(default_factory=set)
    plain: set[str] = field(default_factory=set)
    exports: set[str] = field(default_factory=set)
    """Their names."""

    def uri(self, number: int) -> str:
        """Return where the entry of this number lies, counted from 1."""
        return storage.join(self.output_uri, FOLDER, f"{number:08d}.json")

    def read(self) -> "Register":
        """Read the entries that were written since; return the register."""
        while True:
            uri = self.uri(self.num_read + 1)
            data = storage.read_optional(uri)
            if data is None:
                return self
            self._note(parse(uri, data, ENTRY))

    def _note(self, entry: Entry) -> None:
        self.num_read += 1
        self.exports.add(entry.export)
        for keys in entry.ads:
            self.ads.add(int(keys.ad, 16))
            self.texts.add(keys.text)
            self.plain.add(keys.plain)

    def has(self, keys: Keys) -> bool:
        """Say whether an ad, or its text, was exported before."""
        is_text = keys.text in self.texts or keys.plain in self.plain
        return is_text or int(keys.ad, 16) in self.ads

    def seen(
        self, id_hashes_N: NDArray[np.uint64], text_keys: pa.ChunkedArray
    ) -> NDArray[np.bool_]:
        """Say of each row of a run whether it, or its text, was exported before: bool (N,)."""
        ads = np.fromiter(self.ads, np.uint64, len(self.ads))
        known = pa.array(sorted(self.texts), pa.string())
        is_text = pc.is_in(text_keys, value_set=known)
        return np.isin(id_hashes_N, ads) | is_text.to_numpy()

    def take(
        self, export: str, run_id: str, created_at: str, ads: Sequence[Keys]
    ) -> bool:
        """Note what an export takes; False when another one came first: read, and choose again."""
        entry = Entry(export=export, created_at=created_at, run_id=run_id, ads=[*ads])
        uri, data = self.uri(self.num_read + 1), storage.to_json(entry)
        # after a lost answer the entry that is there is this one
        is_taken = storage.create_bytes(uri, data) or storage.read_optional(uri) == data
        if not is_taken:
            return False
        if storage.ignores_conditions(uri, data):
            log.warning("%s: %s", self.output_uri, UNSAFE)
        self._note(entry)
        return True

"""Copies of receipts, up to a thousand in one object: a start need not read each receipt again.

A copy is never the word of a receipt. It is taken where the receipt itself lies there, in the
version that was copied; what is missing here, damaged or behind is read from the receipts, and
costs time and nothing else.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import storage

T = TypeVar("T")
V = TypeVar("V")
LOG = "receipt_log"
SUFFIX = ".receipts"
"""Parquet by a name that no reader of ads takes."""
FEWEST = 100
"""Receipts that are worth a batch."""
NO_BATCH = ""
"""Stands for the batch of a receipt that was not copied."""
BATCHES_AT_ONCE = 4
SCHEMA = pa.schema(
    [
        pa.field("shard_id", pa.string()),
        pa.field("version", pa.string()),
        pa.field("receipt", pa.binary()),
    ]
)
FINGERPRINT = b"rubert_ood.fingerprint"


@dataclass(frozen=True)
class Copy:
    """A receipt, and the version of the object that it was read from."""

    version: str
    data: bytes


def log_uri(run_uri: str) -> str:
    """Return the folder of the batches of a run."""
    return storage.join(run_uri, "_run", LOG)


def batch_uri(run_uri: str, number: int) -> str:
    """Return where the batch of this number lies."""
    return storage.join(log_uri(run_uri), f"{number:05d}{SUFFIX}")


def to_batch(copies: Mapping[str, Copy], fingerprint: str) -> bytes:
    """Lay copies out by shard id as one Parquet file, whose pages have checksums."""
    columns = [
        list(copies),
        [copy.version for copy in copies.values()],
        [copy.data for copy in copies.values()],
    ]
    schema = SCHEMA.with_metadata({FINGERPRINT: fingerprint})
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table(columns, schema=schema),
        sink,
        compression="zstd",
        write_page_checksum=True,
    )
    return sink.getvalue().to_pybytes()


@dataclass(frozen=True)
class Batches:
    """Where the copies of receipts lie."""

    fingerprint: str
    """Of the run."""
    versions: Mapping[str, str]
    """The version that each receipt has now, by shard id."""
    batch_of: Mapping[str, str]
    """The batch of each that was copied in this version."""

    def read(self, uri: str) -> dict[str, bytes]:
        """Return what a batch has of them."""
        if uri == NO_BATCH:
            return {}
        batch = _read(uri, self.fingerprint, SCHEMA.names)
        rows = _current(batch, self.versions)
        return {name: batch["receipt"][row].as_py() for name, row in rows.items()}


class Copied(Mapping[str, T]):
    """Records by shard id: some in memory, and those of batches, read when they are asked for.

    One batch is kept: who asks in the order of the plan reads each batch once. Not for several
    threads at once.
    """

    def __init__(
        self,
        batches: Batches,
        others: Mapping[str, T],
        read: Callable[[str, bytes | None], T],
    ) -> None:
        """`others` are in no batch. `read` takes a shard and its copy; None if that is gone."""
        self._batches, self._others, self._read = batches, others, read
        self._open, self._copies = "", dict[str, bytes]()

    def without(self, names: Set[str]) -> "Copied[T]":
        """Return the records but those of some shards."""
        batch_of = _without(self._batches.batch_of, names)
        batches = replace(self._batches, batch_of=batch_of)
        return Copied(batches, _without(self._others, names), self._read)

    def __getitem__(self, shard_id: str) -> T:
        if shard_id in self._others:
            return self._others[shard_id]
        uri = self._batches.batch_of[shard_id]
        if uri != self._open:
            self._open, self._copies = uri, self._batches.read(uri)
        return self._read(shard_id, self._copies.get(shard_id))

    def __contains__(self, shard_id: object) -> bool:
        return shard_id in self._others or shard_id in self._batches.batch_of

    def __iter__(self) -> Iterator[str]:
        return chain(self._batches.batch_of, self._others)

    def __len__(self) -> int:
        return len(self._batches.batch_of) + len(self._others)


def _without(records: Mapping[str, V], names: Set[str]) -> dict[str, V]:
    return {name: record for name, record in records.items() if name not in names}


def find_copies(
    uris: Sequence[str], fingerprint: str, versions: Mapping[str, str]
) -> dict[str, str]:
    """Return the batch of each shard whose receipt was copied in the version that it has now."""
    found = {}
    with ThreadPoolExecutor(BATCHES_AT_ONCE) as pool:
        batches = pool.map(
            lambda uri: _read(uri, fingerprint, ["shard_id", "version"]), uris
        )
        for uri, batch in zip(uris, batches, strict=True):
            for shard_id in _current(batch, versions):
                found[shard_id] = uri
    return found


def _current(batch: pa.Table, versions: Mapping[str, str]) -> dict[str, int]:
    """Return the rows of what is of its present version."""
    names, noted = batch["shard_id"].to_pylist(), batch["version"].to_pylist()
    rows = {}
    for row, (shard_id, version) in enumerate(zip(names, noted, strict=True)):
        if version and versions.get(shard_id) == version:
            rows[shard_id] = row
    return rows


def _read(uri: str, fingerprint: str, columns: list[str]) -> pa.Table:
    """Read a batch; no row where there is none, or none that is whole and of this run."""
    nothing = SCHEMA.empty_table().select(columns)
    data = storage.read_optional(uri)
    if data is None:
        return nothing
    try:
        file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
        metadata = file.schema_arrow.metadata or {}
        is_ours = metadata.get(FINGERPRINT) == fingerprint.encode()
        if is_ours and file.schema_arrow.names == SCHEMA.names:
            return file.read(columns).cast(nothing.schema)
    except (pa.ArrowException, OSError):
        pass  # not whole: the receipts are
    return nothing

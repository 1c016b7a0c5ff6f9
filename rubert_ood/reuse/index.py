"""The index of a run, fetched once per node, and opened once per process.

A copy is read again, and compared with the sha256 of its files, when one of them has changed since
it was compared, or the machine has started again: what a crash left half-written is not taken. It
is not read by each process, since that costs 1.1 s for each GB.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from hashlib import file_digest

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubert_ood import storage
from rubert_ood.errors import InputError, RubertOodError, StorageUnavailableError
from rubert_ood.progress import StepLog
from rubert_ood.reuse.buckets import bucket_numbers, row_ids
from rubert_ood.reuse.document import (
    DOCUMENT,
    IndexDocument,
    index_uri,
    read_document,
)
from rubert_ood.reuse.layout import Records, key_numbers
from rubert_ood.reuse.segment import Segment
from rubert_ood.runs.reuse import ReusedRun
from rubert_ood.storage import folders

log = StepLog("reuse")
KIND = "reuse"
STAMP = "compared"
"""What the files of a copy looked like when they were compared with their sha256."""
BOOT = "/proc/sys/kernel/random/boot_id"
KEEP_S = 6 * 3600.0
"""A copy that no process has opened for so long is removed when another one is fetched."""


class Index:
    """Results by text key, in files of this node."""

    def __init__(self, folder: str, document: IndexDocument) -> None:
        self.document = document
        self._folder = folder
        self._segments: dict[int, Segment] = {}

    def find(self, keys: list[str]) -> tuple[NDArray[np.int64], Records]:
        """Return the places of the keys that are there, ascending, and their records.

        Raises InputError where the copy on this node is damaged: it is compared, and fetched again,
        when it is opened next.
        """
        with self._explained():
            return self._find(keys)

    def results(self, keys: list[str]) -> tuple[pa.Table, Records]:
        """Return the results of the keys that are there, in their order, and their records.

        Raises InputError as `find` does.
        """
        with self._explained():
            places_T, records_T = self._find(keys)
            found = [keys[place] for place in places_T]
            return self.document.layout.to_table(found, records_T), records_T

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, InputError) as error:
            with suppress(OSError):
                os.unlink(os.path.join(self._folder, STAMP))
            raise InputError(f"{self._folder} is damaged ({error})") from error

    def _find(self, keys: list[str]) -> tuple[NDArray[np.int64], Records]:
        layout, num_files = self.document.layout, len(self.document.files)
        keys_N2 = key_numbers(keys)
        ids_N, numbers_N = (
            row_ids(keys_N2[:, 0]),
            bucket_numbers(keys_N2[:, 0], num_files),
        )
        places, records = [np.empty(0, np.int64)], [np.empty(0, layout.dtype)]
        for number in np.unique(numbers_N).tolist():
            rows = np.flatnonzero(numbers_N == number)
            wanted = np.unique(ids_N[rows])
            found_T, records_T = self._segment(number).find(wanted.tolist())
            at = np.searchsorted(found_T, ids_N[rows])
            is_there = at < len(found_T)
            rows, at = rows[is_there], at[is_there]
            is_same = (found_T[at] == ids_N[rows]) & (
                records_T["tail"][at] == keys_N2[rows, 1]
            )
            places.append(rows[is_same])
            records.append(records_T[at[is_same]])
        places_T, records_T = np.concatenate(places), np.concatenate(records)
        order_T = np.argsort(places_T)
        return places_T[order_T], records_T[order_T]

    def _segment(self, number: int) -> Segment:
        if number not in self._segments:
            name = self.document.files[number].name
            path = os.path.join(self._folder, name)
            self._segments[number] = Segment(path, self.document.layout.dtype)
        return self._segments[number]


def fetch_index(run_uri: str, sha256: str) -> Index:
    """Copy the index of a run to this node, once for all processes, and open it.

    Raises InputError when it is missing, damaged or has another sha256.
    """
    document, found = read_document(run_uri)
    if found != sha256:
        raise InputError(f"{index_uri(run_uri)} is not the index that the plan names")
    source, expected = index_uri(run_uri), {DOCUMENT: sha256}
    for file in document.files:
        expected[file.name] = file.sha256
    check = partial(_check_copy, source=source, expected=expected)
    parent = os.path.join(folders.private_cache(), KIND)
    _remove_old(parent, sha256)
    _remove_damaged(os.path.join(parent, sha256), check)
    folder = folders.fetch_folder(source, KIND, sha256, [*expected], check)
    os.utime(folder)
    return Index(folder, document)


def _check_copy(folder: str, *, source: str, expected: dict[str, str]) -> None:
    """Compare the files of a copy with their sha256, unless that was done since they changed."""
    path, stamp = os.path.join(folder, STAMP), _stamp(folder, list(expected))
    with suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        if file.read() == stamp:
            return
    for name, digest in expected.items():
        with open(os.path.join(folder, name), "rb") as data:
            if file_digest(data, "sha256").hexdigest() != digest:
                uri = storage.join(source, name)
                raise InputError(
                    f"{uri} is damaged (its sha256 differs from index.json)."
                    " Run `publish` on that run to build it again"
                )
    with open(path, "w", encoding="utf-8") as file:
        file.write(stamp)


def _stamp(folder: str, names: list[str]) -> str:
    """Tell a file apart that was changed, and all of them after the machine has started again."""
    lines = []
    with suppress(OSError), open(BOOT, encoding="utf-8") as file:
        lines.append(file.read().strip())
    for name in names:
        found = os.stat(os.path.join(folder, name))
        lines.append(f"{name} {found.st_size} {found.st_mtime_ns}")
    return "\n".join(lines)


def _remove_damaged(folder: str, check: Callable[[str], None]) -> None:
    """Remove a copy that is not what was copied: it is fetched again."""
    with storage.locked(folder):
        if not os.path.isdir(folder):
            return
        try:
            check(folder)
        except (InputError, OSError, UnicodeError):
            log.warning("fetches %s again, because the copy has changed", folder)
            shutil.rmtree(folder)


def _remove_old(parent: str, key: str) -> None:
    """Remove copies of other indexes that no process has opened for hours: each night brings
    one."""
    with suppress(FileNotFoundError):
        for name in os.listdir(parent):
            path = os.path.join(parent, name)
            if name == key or name.startswith("."):
                continue
            with suppress(OSError), storage.locked(path, wait=False) as is_free:
                if is_free and time.time() - os.stat(path).st_mtime > KEEP_S:
                    shutil.rmtree(path, ignore_errors=True)


@lru_cache(maxsize=1)
def open_index(reused: ReusedRun) -> Index | None:
    """Return the index of the run that is reused, one for all shards of this process.

    None when it is gone or damaged, which is said once.
    """
    try:
        return fetch_index(reused.run_uri, reused.index_sha256)
    except StorageUnavailableError:
        raise
    except (RubertOodError, OSError, sqlite3.Error) as error:
        log.warning("scores every text, because the index cannot be used: %s", error)
        return None


class Taker:
    """Takes over the results of the texts of one shard, and sets some apart to be checked."""

    def __init__(self, index: Index, reused: ReusedRun, fingerprint: str) -> None:
        """`fingerprint` is that of the run: each run checks other texts, a retry the same."""
        self._index = index
        self._salt = np.uint64(int(fingerprint[:16], 16))
        self._limit = np.uint64(min(int(reused.check_fraction * 2**64), 2**64 - 1))
        self._checks: list[pa.Table] = []
        self.failed = False
        """Whether the index could not be read."""

    def __call__(self, keys: list[str]) -> pa.Table:
        """Return the results of the texts that need not be scored, in the order of the keys."""
        try:
            table, records_T = self._index.results(keys)
        except InputError as error:
            log.warning("scores these texts, because the index cannot be read: %s", error)
            self.failed = True
            return self._index.document.layout.schema.empty_table()
        is_checked = (records_T["tail"] ^ self._salt) <= self._limit
        self._checks.append(table.filter(pa.array(is_checked)))
        return table.filter(pa.array(~is_checked))

    def checks(self) -> pa.Table:
        """Return what the index says of the texts that are scored again."""
        empty = self._index.document.layout.schema.empty_table()
        return pa.concat_tables([empty, *self._checks]).combine_chunks()

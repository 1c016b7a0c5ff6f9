"""The index of a run, fetched once per node, and opened once per process."""

import os
import shutil
import sqlite3
import time
from contextlib import suppress
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

        Raises sqlite3.Error where the copy on this node is damaged.
        """
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

    Raises InputError when it is gone, damaged or another one than that of this sha256.
    """
    document, found = read_document(run_uri)
    if found != sha256:
        raise InputError(f"{index_uri(run_uri)}: another index than the plan names")
    names = [DOCUMENT, *(file.name for file in document.files)]
    check = partial(_check_copy, document=document, sha256=sha256)
    _remove_old(os.path.join(folders.private_cache(), KIND), sha256)
    folder = folders.fetch_folder(index_uri(run_uri), KIND, sha256, names, check)
    os.utime(folder)
    return Index(folder, document)


def _check_copy(folder: str, *, document: IndexDocument, sha256: str) -> None:
    expected = {file.name: file.sha256 for file in document.files}
    for name, digest in {DOCUMENT: sha256, **expected}.items():
        with open(os.path.join(folder, name), "rb") as file:
            if file_digest(file, "sha256").hexdigest() != digest:
                raise InputError(f"{name}: damaged, its sha256 is not the noted one")


def _remove_old(parent: str, key: str) -> None:
    """Remove the copies of other indexes that nobody has opened for hours: one comes each night."""
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
        log.warning("nothing is reused, every text is scored: %s", error)
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
        layout = self._index.document.layout
        try:
            places_T, records_T = self._index.find(keys)
        except sqlite3.Error as error:
            log.warning("the index is not readable: %s", error)
            self.failed = True
            return layout.schema.empty_table()
        table = layout.to_table([keys[place] for place in places_T], records_T)
        is_checked = (records_T["tail"] ^ self._salt) <= self._limit
        self._checks.append(table.filter(pa.array(is_checked)))
        return table.filter(pa.array(~is_checked))

    def checks(self) -> pa.Table:
        """Return what the index says of the texts that are scored again."""
        empty = self._index.document.layout.schema.empty_table()
        return pa.concat_tables([empty, *self._checks]).combine_chunks()

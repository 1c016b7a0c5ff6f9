"""Records sorted by key, however many: into files by the head of the key, and each file by itself.

Keys are digests, so files by equal ranges of them are of equal size. Shapes: T texts.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from rubert_ood.reuse.layout import Records

SHIFT = np.uint64(32)
SIGN = np.uint64(2**63)


def bucket_numbers(heads_T: NDArray[np.uint64], num_buckets: int) -> NDArray[np.int64]:
    """Return the equal range of keys, of so many, that each key lies in: int64 (T,)."""
    numbers_T = (heads_T >> SHIFT) * np.uint64(num_buckets) >> SHIFT
    return numbers_T.astype(np.int64)


def row_ids(heads_T: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return heads as SQLite holds whole numbers, in the same order: int64 (T,)."""
    return (heads_T ^ SIGN).view(np.int64)


class Buckets:
    """Files of records on the local disk."""

    def __init__(self, folder: str, dtype: np.dtype[np.void], num_buckets: int) -> None:
        self._dtype = np.dtype([("head", "<u8"), ("record", dtype)])
        self._paths = [os.path.join(folder, str(n)) for n in range(num_buckets)]
        self._open = ExitStack()
        self._files: list[BinaryIO] = []
        for path in self._paths:
            file = open(path, "wb")  # noqa: SIM115 - closed by the stack
            self._files.append(self._open.enter_context(file))

    def add(self, heads_T: NDArray[np.uint64], records_T: Records) -> None:
        """Take some records, in any order."""
        rows_T = np.empty(len(heads_T), self._dtype)
        rows_T["head"], rows_T["record"] = heads_T, records_T
        numbers_T = bucket_numbers(heads_T, len(self._files))
        rows_T = rows_T[np.argsort(numbers_T, kind="stable")]
        counts = np.bincount(numbers_T, minlength=len(self._files))
        pieces = np.split(rows_T, np.cumsum(counts)[:-1])
        for file, piece in zip(self._files, pieces, strict=True):
            file.write(piece.tobytes())

    def sorted(self) -> Iterator[tuple[NDArray[np.int64], Records]]:
        """Yield row ids, ascending and different, and records of bucket after bucket.

        Of records with one head the first that was added stays.
        """
        self._open.close()
        for path in self._paths:
            rows_T = np.fromfile(path, self._dtype)
            os.unlink(path)
            _, first = np.unique(rows_T["head"], return_index=True)
            rows_T = rows_T[first]
            yield row_ids(rows_T["head"]), rows_T["record"]

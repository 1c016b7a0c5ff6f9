"""One file of an index: a SQLite database of records by the first half of their text key.

SQLite reads the pages that a look-up needs, and keeps few of them: the memory of a process does not
grow with the index.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from rubert_ood.reuse.layout import Records

ROWS_AT_ONCE = 10_000
CACHE_KB = 256
WRITE = """
PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE texts (head INTEGER PRIMARY KEY, record BLOB NOT NULL);
BEGIN;
"""
LOOK_UP = """
SELECT head, record FROM json_each(?) AS wanted
CROSS JOIN texts ON texts.head = wanted.value
ORDER BY head
"""


def write_segment(path: str, heads_T: NDArray[np.int64], records_T: Records) -> None:
    """Write records by their heads, which are ascending and different."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(WRITE)
        rows = _rows(heads_T, records_T)
        database.executemany("INSERT INTO texts VALUES (?, ?)", rows)
        database.execute("COMMIT")


def _rows(heads_T: NDArray[np.int64], records_T: Records) -> Iterator[tuple[int, bytes]]:
    plain_T = records_T.view(f"V{records_T.dtype.itemsize}")
    for start in range(0, len(heads_T), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        yield from zip(heads_T[some].tolist(), plain_T[some].tolist(), strict=True)


class Segment:
    """A file of an index, open for look-ups."""

    def __init__(self, path: str, dtype: np.dtype[np.void]) -> None:
        uri = f"file:{quote(path)}?mode=ro&immutable=1"
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        self._dtype = dtype

    def find(self, heads: list[int]) -> tuple[NDArray[np.int64], Records]:
        """Return the heads that are there, ascending, and their records.

        Raises sqlite3.Error where the file is damaged.
        """
        found = self._database.execute(LOOK_UP, [str(heads)]).fetchall()
        heads_T = np.array([head for head, _ in found], np.int64)
        records = [record for _, record in found]
        width = self._dtype.itemsize
        for record in records:  # one that is too long would shift those behind it
            if not isinstance(record, bytes) or len(record) != width:
                raise sqlite3.DatabaseError(f"a record does not have {width} bytes")
        return heads_T, np.frombuffer(b"".join(records), self._dtype)

"""Find ad ids that occur more than once in a run, with DuckDB: memory stays bounded, the ids lie on
disk meanwhile.

Ids are compared by a 128-bit hash, so that none is too long; of an id its beginning is kept, for
the examples.
"""

import os
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa
from pydantic import Field

from rubert_ood.runs.record import Count, Record
from rubert_ood.storage.scratch import scratch_folder

MEMORY_LIMIT = "64MB"
NUM_EXAMPLES = 20
EXAMPLE_CHARACTERS = 100
IDS_SCHEMA = pa.schema([pa.field("ad_id", pa.string()), pa.field("shard", pa.int64())])

DISK_FAILURES = (duckdb.OperationalError, duckdb.FatalException)
"""What DuckDB raises where the disk is full, or fails."""

SETUP = f"""
SET memory_limit = '{MEMORY_LIMIT}';
SET threads = 1;  -- several could not share so little memory when there are millions of ids
SET preserve_insertion_order = false;
CREATE TABLE ads (hash UHUGEINT, start VARCHAR, shard BIGINT);
"""
INSERT = f"""
INSERT INTO ads SELECT md5_number(ad_id), left(ad_id, {EXAMPLE_CHARACTERS}), shard FROM next_ads
"""
FIND = f"""
CREATE TEMP TABLE duplicates AS
  SELECT hash, count(*) AS copies, min(shard) AS one, max(shard) AS other
  FROM ads GROUP BY hash HAVING count(*) > 1;
CREATE TEMP TABLE shown AS
  FROM duplicates ORDER BY copies DESC, hash LIMIT {NUM_EXAMPLES};
"""
COUNT = "SELECT count(*), sum(copies - 1) FROM duplicates"
EXAMPLES = """
SELECT min(start) AS ad_id, any_value(copies), any_value(one), any_value(other)
FROM shown JOIN ads USING (hash)
GROUP BY hash ORDER BY any_value(copies) DESC, ad_id
"""


class DuplicateId(Record):
    """An id of several ads."""

    ad_id: str
    """Its beginning."""
    copies: Count
    files: list[str]
    """The first and the last one that has it."""


class Duplicates(Record):
    """Ids that several ads have."""

    ids: Count
    """Different ids of which there are several."""
    rows: Count
    """Rows beyond the first of each."""
    examples: list[DuplicateId] = Field([])


def find_duplicates(ids: Iterator[pa.Table], shard_uris: Sequence[str]) -> Duplicates:
    """Count the duplicate ids in tables of IDS_SCHEMA, whose `shard` is a place in shard_uris.

    Raises OutputError where the local disk fails.
    """
    with (
        scratch_folder("rubert_ood_ids_", *DISK_FAILURES) as folder,
        duckdb.connect(os.path.join(folder, "ids.duckdb")) as database,
    ):
        database.execute(SETUP)
        for table in ids:
            database.register("next_ads", table)
            database.execute(INSERT)
            database.unregister("next_ads")
        database.execute(FIND)
        num_ids, num_rows = database.execute(COUNT).fetchall()[0]
        found = database.execute(EXAMPLES).fetchall()
    examples = []
    for ad_id, copies, one, other in found:
        files = sorted({shard_uris[one], shard_uris[other]})
        examples.append(DuplicateId(ad_id=ad_id, copies=copies, files=files))
    return Duplicates(ids=num_ids, rows=int(num_rows or 0), examples=examples)

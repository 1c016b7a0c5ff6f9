"""Find ad ids that occur more than once in a run, with DuckDB: memory stays bounded, the ids lie on
disk meanwhile.

Ids are compared by a 128-bit hash, so that none is too long; of an id its beginning is kept, for
the examples.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

MEMORY_LIMIT = "64MB"
NUM_EXAMPLES = 20
EXAMPLE_CHARACTERS = 100
IDS_SCHEMA = pa.schema([pa.field("ad_id", pa.string()), pa.field("shard", pa.int64())])


def find_duplicates(ids: Iterator[pa.Table], shard_uris: Sequence[str]) -> dict[str, Any]:
    """Count the ids that occur more than once in tables of IDS_SCHEMA, and name some of them with
    their files.

    Returns {ids: different ids that repeat, rows: rows beyond the first of each, examples: [{ad_id,
    copies, files}]}. `shard` is a position in shard_uris; of each id the first and the last file
    are named.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        duckdb.connect(os.path.join(folder, "ids.duckdb")) as database,
    ):
        database.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        database.execute(
            "SET threads = 1"
        )  # several could not share so little memory when there are millions of ids
        database.execute("SET preserve_insertion_order = false")
        database.execute("CREATE TABLE ads (hash UHUGEINT, start VARCHAR, shard BIGINT)")
        for table in ids:
            database.register("next_ads", table)
            database.execute(
                f"INSERT INTO ads SELECT md5_number(ad_id), left(ad_id, {EXAMPLE_CHARACTERS}),"
                " shard FROM next_ads"
            )
            database.unregister("next_ads")
        database.execute(
            "CREATE TEMP TABLE repeated AS SELECT hash, count(*) AS copies, min(shard) AS one,"
            " max(shard) AS other FROM ads GROUP BY hash HAVING count(*) > 1"
        )
        num_ids, num_rows = database.execute(
            "SELECT count(*), sum(copies - 1) FROM repeated"
        ).fetchall()[0]
        database.execute(
            "CREATE TEMP TABLE shown AS FROM repeated ORDER BY copies DESC, hash LIMIT"
            f" {NUM_EXAMPLES}"
        )
        examples = database.execute(
            "SELECT min(start) AS ad_id, any_value(copies), any_value(one), any_value(other) "
            "FROM shown JOIN ads USING (hash) GROUP BY hash ORDER BY any_value(copies) DESC, ad_id"
        ).fetchall()
    return {
        "ids": num_ids,
        "rows": int(num_rows or 0),
        "examples": [
            {
                "ad_id": ad_id,
                "copies": copies,
                "files": sorted({shard_uris[one], shard_uris[other]}),
            }
            for ad_id, copies, one, other in examples
        ],
    }

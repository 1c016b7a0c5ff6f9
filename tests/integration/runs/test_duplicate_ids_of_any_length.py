"""Ids as older versions let them be: more of them than DuckDB may keep in memory."""

from rubert_ood.runs.duplicate_ids import EXAMPLE_CHARACTERS, DuplicateId, find_duplicates
from tests.unit.runs.test_duplicate_ids import _tables


def test_ids_of_any_length_are_told_apart_and_named_by_their_beginning():
    """Runs of 0.2.0 may hold such ids: more of them than DuckDB may keep in memory."""
    long = "ж" * 25_000_000
    shards = [
        ["a", long, "b"],
        [f"{long}!", "b", long],
        [f"{n}{'x' * 100_000}" for n in range(1_000)] * 2,
    ]
    found = find_duplicates(_tables(shards), ["a.parquet", "b.parquet", "c.parquet"])
    assert (found.ids, found.rows) == (1_002, 1_002)
    found = find_duplicates(_tables(shards[:2]), ["a.parquet", "b.parquet"])
    files = ["a.parquet", "b.parquet"]
    assert found.examples == [
        DuplicateId(ad_id="b", copies=2, files=files),
        DuplicateId(ad_id="ж" * EXAMPLE_CHARACTERS, copies=2, files=files),
    ]

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubert_ood.errors import StorageUnavailableError
from rubert_ood.runs.duplicate_ids import (
    IDS_SCHEMA,
    NUM_EXAMPLES,
    DuplicateId,
    find_duplicates,
)


def _tables(shards: list[list[str]]):
    for number, ids in enumerate(shards):
        yield pa.table(
            [pa.array(ids, pa.string()), pa.array([number] * len(ids), pa.int64())],
            schema=IDS_SCHEMA,
        )


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.lists(
            st.sampled_from(["1", "01", "а", "А", " ", "'; DROP", "x" * 50]), max_size=6
        ),
        max_size=5,
    )
)
def test_duplicate_ids_are_those_counted_by_hand(shards):
    copies = Counter(ad_id for ids in shards for ad_id in ids)
    where = defaultdict(set)
    for number, ids in enumerate(shards):
        for ad_id in ids:
            where[ad_id].add(number)
    found = find_duplicates(_tables(shards), [f"{n}.parquet" for n in range(len(shards))])
    repeated = {ad_id: n for ad_id, n in copies.items() if n > 1}
    assert found.ids == len(repeated)
    assert found.rows == sum(repeated.values()) - len(repeated)
    assert {example.ad_id: example.copies for example in found.examples} == repeated
    for example in found.examples:
        ends = {min(where[example.ad_id]), max(where[example.ad_id])}
        assert example.files == sorted(f"{n}.parquet" for n in ends)


def test_duplicate_ids_name_the_most_frequent_first_and_not_all_of_many():
    ids = [str(n) for n in range(1000) for _ in range(1 + (n % 50 == 0) + (n == 500))]
    found = find_duplicates(_tables([ids]), ["a.parquet"])
    assert (found.ids, found.rows) == (20, 21)
    assert len(found.examples) == NUM_EXAMPLES
    assert found.examples[0] == DuplicateId(ad_id="500", copies=3, files=["a.parquet"])


def test_duplicate_ids_among_many_ids_in_many_tables_are_found():
    rng = np.random.default_rng(0)
    shards = [[str(n) for n in rng.integers(0, 200_000, 5000)] for _ in range(40)]
    copies = Counter(ad_id for ids in shards for ad_id in ids)
    found = find_duplicates(_tables(shards), [str(n) for n in range(40)])
    assert found.ids == sum(n > 1 for n in copies.values())
    assert found.rows == 200_000 - len(copies)


def test_duplicate_ids_let_a_failure_of_the_source_through():
    def broken():
        yield from _tables([["1"]])
        raise StorageUnavailableError("s3://b/k: gone")

    with pytest.raises(StorageUnavailableError, match="s3://b/k: gone"):
        find_duplicates(broken(), ["a.parquet"])

import numpy as np
import pytest

from rubert_ood.reuse.buckets import Buckets, bucket_numbers, row_ids

DTYPE = np.dtype([("tail", "<u8"), ("value", "<i4")])


def test_row_ids_have_the_order_of_the_heads():
    heads = np.array([0, 1, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
    ids = row_ids(heads)
    assert ids.dtype == np.int64
    assert (np.diff(ids.astype(object)) > 0).all()


@pytest.mark.parametrize("count", [1, 3, 160])
def test_bucket_numbers_are_equal_ranges_in_order(count):
    heads = np.sort(np.random.default_rng(0).integers(0, 2**64, 5_000, np.uint64))
    numbers = bucket_numbers(heads, count)
    assert numbers.tolist() == [int(head) * count >> 64 for head in heads]


def test_sorted_buckets_hold_every_head_once_in_order_and_the_record_that_came_first(
    tmp_path,
):
    rng = np.random.default_rng(0)
    buckets = Buckets(str(tmp_path), DTYPE, 7)
    expected = {}
    for batch in range(5):
        heads = rng.integers(0, 2**64, 400, np.uint64)
        heads[:50] = np.uint64(batch % 2) + np.arange(50, dtype=np.uint64)
        records = np.zeros(len(heads), DTYPE)
        records["value"] = rng.integers(0, 1_000_000, len(heads))
        buckets.add(heads, records)
        for head, record in zip(heads.tolist(), records, strict=True):
            expected.setdefault(head, int(record["value"]))
    pieces = list(buckets.sorted())
    assert len(pieces) == 7
    ids = np.concatenate([piece[0] for piece in pieces])
    assert (np.diff(ids.astype(object)) > 0).all()
    values = np.concatenate([piece[1]["value"] for piece in pieces])
    assert values.tolist() == [expected[head] for head in sorted(expected)]
    assert list(tmp_path.iterdir()) == []

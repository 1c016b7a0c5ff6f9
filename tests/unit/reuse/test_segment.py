import sqlite3

import numpy as np
import pytest

from rubert_ood.reuse.segment import Segment, write_segment

DTYPE = np.dtype([("tail", "<u8"), ("value", "<f4")])


@pytest.fixture
def segment(tmp_path):
    rng = np.random.default_rng(0)
    heads = np.unique(rng.integers(-(2**63), 2**63 - 1, 25_000))
    records = np.zeros(len(heads), DTYPE)
    records["tail"], records["value"] = rng.integers(0, 2**62, len(heads)), heads / 2**40
    path = str(tmp_path / "a b?#%.sqlite")
    write_segment(path, heads, records)
    return path, heads, records


def test_find_returns_the_records_of_the_heads_that_are_there(segment):
    path, heads, records = segment
    wanted = np.random.default_rng(1).permutation(len(heads))[:5_000]
    absent = [head for head in (1, -1, 2**63 - 1, -(2**63)) if head not in heads]
    found, values = Segment(path, DTYPE).find([*heads[wanted].tolist(), *absent])
    assert len(absent) == 4
    assert found.tolist() == sorted(heads[wanted].tolist())
    expected = dict(zip(heads.tolist(), records, strict=True))
    assert all(expected[head] == value for head, value in zip(found, values, strict=True))


def test_find_of_nothing_returns_nothing(segment):
    heads, records = Segment(segment[0], DTYPE).find([])
    assert (len(heads), len(records), records.dtype) == (0, 0, DTYPE)


def test_write_segment_of_the_same_records_makes_the_same_bytes(segment, tmp_path):
    path, heads, records = segment
    again = tmp_path / "again"
    write_segment(str(again), heads, records)
    with open(path, "rb") as file:
        assert file.read() == again.read_bytes()


@pytest.mark.parametrize(
    "record", [b"", b"\0" * 11, b"\0" * 13, b"\0" * 24, "text of 12.."]
)
def test_find_of_a_record_of_another_width_says_so(segment, record):
    """Two of them may be as wide as two good ones: they would be cut in the wrong place."""
    path, heads, _ = segment
    with sqlite3.connect(path) as database:
        some = heads[:2].tolist()
        change = "UPDATE texts SET record = ? WHERE head = ?"
        database.executemany(
            change, [(record, some[0]), (b"\0" * (24 - len(record)), some[1])]
        )
    with pytest.raises(sqlite3.DatabaseError, match="a record does not have 12 bytes"):
        Segment(path, DTYPE).find(heads.tolist())


def test_find_in_a_file_that_is_damaged_says_so(segment):
    path, heads, _ = segment
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 200_000)
    with pytest.raises(sqlite3.DatabaseError):
        Segment(path, DTYPE).find(heads.tolist())

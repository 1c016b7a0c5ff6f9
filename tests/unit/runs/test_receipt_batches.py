"""Copies of receipts, against the bytes that were copied."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.runs.receipt_batches import (
    SCHEMA,
    Batches,
    Copied,
    Copy,
    batch_uri,
    find_copies,
    to_batch,
)

FINGERPRINT = "f" * 64
NUM_BATCHES, NUM_SHARDS = 3, 40


def _name(number: int) -> str:
    return f"{number:05d}-ab"


def _receipt(number: int) -> bytes:
    return json.dumps({"shard": number, "text": "диван " * number}, indent=1).encode()


@pytest.fixture
def batches(tmp_path):
    """Batches 0 to 2 of forty shards each; versions and places of all."""
    batch_of = {}
    for number in range(NUM_BATCHES):
        uri = batch_uri(str(tmp_path), number)
        numbers = range(NUM_SHARDS * number, NUM_SHARDS * (number + 1))
        copies = {_name(n): Copy(f"v{n}", _receipt(n)) for n in numbers}
        assert storage.create_bytes(uri, to_batch(copies, FINGERPRINT))
        batch_of |= dict.fromkeys(copies, uri)
    versions = {_name(n): f"v{n}" for n in range(NUM_BATCHES * NUM_SHARDS)}
    return Batches(FINGERPRINT, versions, batch_of)


def _uris(batches) -> list[str]:
    return sorted(set(batches.batch_of.values()))


def _copied(batches, others=()) -> Copied[bytes | None]:
    return Copied(batches, dict(others), lambda shard_id, data: data)


def test_find_copies_finds_each_in_its_batch(batches):
    found = find_copies(_uris(batches), FINGERPRINT, batches.versions)
    assert found == batches.batch_of
    assert list(found) == sorted(found)


def test_find_copies_leaves_out_a_receipt_that_was_replaced_or_is_gone(batches):
    versions = dict(batches.versions)
    del versions[_name(7)]
    versions |= {_name(50): "another", _name(51): ""}
    found = find_copies(_uris(batches), FINGERPRINT, versions)
    gone = {_name(7), _name(50), _name(51)}
    assert found.keys() == batches.batch_of.keys() - gone


def test_find_copies_of_another_run_finds_none(batches):
    assert find_copies(_uris(batches), "0" * 64, batches.versions) == {}


def _cut(data: bytes) -> bytes:
    return data[:-20]


def _flip_a_byte_of_a_page(data: bytes) -> bytes:
    place = 60
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _other_columns(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"shard_id": ["x"], "version": ["v"], "other": [b"x"]})
    table = table.replace_schema_metadata({"rubert_ood.fingerprint": FINGERPRINT})
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"PAR1",
        _cut,
        _flip_a_byte_of_a_page,
        _other_columns,
        None,
    ],
)
def test_a_batch_that_is_damaged_or_gone_is_as_if_it_had_none(batches, tmp_path, damage):
    first, bad, last = _uris(batches)
    if damage is None:
        storage.filesystem(bad)[0].rm(bad)
    else:
        storage.put_bytes(bad, damage(storage.read_bytes(bad)))
    found = find_copies([first, bad, last], FINGERPRINT, batches.versions)
    whole = {name for name, uri in batches.batch_of.items() if uri != bad}
    assert found.keys() == whole
    assert batches.read(bad) == {}
    assert (
        _copied(batches)[_name(NUM_SHARDS)] is None
    )  # who reads gets the receipt itself


def test_copied_gives_the_bytes_that_were_copied_in_any_order(batches):
    copied = _copied(batches)
    for number in (0, 79, 3, 119, 80, 1):
        assert copied[_name(number)] == _receipt(number)


def test_copied_reads_each_batch_once_in_the_order_of_the_plan(batches, monkeypatch):
    read = []
    real = storage.read_optional
    monkeypatch.setattr(
        storage, "read_optional", lambda uri: (read.append(uri), real(uri))[1]
    )
    copied = _copied(batches)
    assert [copied[name] for name in sorted(batches.batch_of)] == [
        _receipt(number) for number in range(NUM_BATCHES * NUM_SHARDS)
    ]
    assert read == _uris(batches)


def test_copied_is_a_mapping_over_copies_and_others_that_reads_none(batches, monkeypatch):
    def fail(uri: str) -> bytes:
        raise AssertionError(uri)

    monkeypatch.setattr(storage, "read_optional", fail)
    copied = _copied(batches, {"alone": b"x"})
    assert len(copied) == NUM_BATCHES * NUM_SHARDS + 1
    assert set(copied) == {*batches.batch_of, "alone"}
    assert _name(5) in copied
    assert "alone" in copied
    assert "nobody" not in copied
    assert copied["alone"] == b"x"
    assert copied.get("nobody") is None


def test_a_batch_is_parquet_that_others_can_read(batches):
    table = pq.read_table(_uris(batches)[1])
    assert table.schema.names == SCHEMA.names
    assert [json.loads(data)["shard"] for data in table["receipt"].to_pylist()] == list(
        range(NUM_SHARDS, 2 * NUM_SHARDS)
    )

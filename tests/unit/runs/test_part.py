import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubert_ood.runs.part import DIGEST_MODULUS, ids_digest, part_schema

ids = st.lists(st.text(max_size=12), max_size=30)


def _digest(values: list[str | None]) -> int:
    return ids_digest(pa.array(values, pa.string()))


@given(ids)
def test_ids_digest_is_the_sum_of_the_hashes_of_single_ids(values):
    hashes = [
        int(pd.util.hash_array(np.array([value], object), categorize=False)[0])
        for value in values
    ]
    assert _digest(values) == sum(hashes) % 2**64
    assert DIGEST_MODULUS == 2**64


@given(ids, st.randoms(use_true_random=False))
def test_ids_digest_does_not_depend_on_order(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    assert _digest(shuffled) == _digest(values)


@given(ids, st.integers(0, 30))
def test_ids_digest_of_parts_adds_up(values, cut):
    parts = _digest(values[:cut]) + _digest(values[cut:])
    assert parts % DIGEST_MODULUS == _digest(values)
    chunked = pa.chunked_array(
        [pa.array(values[:cut], pa.string()), pa.array(values[cut:], pa.string())]
    )
    assert ids_digest(chunked) == _digest(values)


@given(ids.filter(bool), st.data())
def test_ids_digest_sees_a_doubled_a_lost_and_a_replaced_id(values, data):
    row = data.draw(st.integers(0, len(values) - 1))
    other = data.draw(st.text(max_size=12).filter(lambda text: text != values[row]))
    digest = _digest(values)
    assert _digest([*values, values[row]]) != digest
    assert (
        _digest([*values, values[row], values[row]]) != digest
    )  # XOR would not see this one
    assert _digest(values[:row] + values[row + 1 :]) != digest
    assert _digest([*values[:row], other, *values[row + 1 :]]) != digest


def test_ids_digest_does_not_count_nulls():
    assert _digest(["a", None, "б", None]) == _digest(["a", "б"])
    assert _digest([None, None]) == _digest([]) == 0


def test_ids_digest_does_not_count_ids_that_are_not_utf8():
    """Their rows are rejected, and _errors cannot hold them as text either."""
    raw = pa.array([b"1", b"\xff\xfe", b"2"], pa.binary())
    bad = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    assert ids_digest(bad) == _digest(["1", "2"])


def test_ids_digest_of_many_ids_is_exact():
    values = [str(number) for number in range(200_000)]
    assert _digest(values[::-1]) == _digest(values) != _digest(values[1:])


@pytest.mark.parametrize("subheads", [False, True])
@pytest.mark.parametrize("hidden_size", [None, 32])
def test_part_schema_has_these_columns(hidden_size, subheads):
    carried = [pa.field("price", pa.int64()), pa.field("tags", pa.list_(pa.string()))]
    schema = part_schema(
        carried, hidden_size, {"run_id": "r", "bundle": "b"}, subheads=subheads
    )
    expected = {
        "ad_id": pa.string(),
        "label": pa.string(),
        "confidence": pa.float32(),
        "topk_labels": pa.list_(pa.string()),
        "topk_scores": pa.list_(pa.float32()),
        "is_ood": pa.bool_(),
        "ood_distance": pa.float64(),
        "ood_z": pa.float64(),
        "ood_p": pa.float64(),
        "status": pa.string(),
        "num_tokens": pa.int32(),
        "num_chunks": pa.int32(),
        "is_cut": pa.bool_(),
        "text_key": pa.string(),
        "scored_in": pa.string(),
    }
    if subheads:
        expected |= {"sub_label": pa.string(), "sub_confidence": pa.float32()}
    if hidden_size:
        expected["embedding"] = pa.list_(pa.float16(), 32)
    expected |= {"price": pa.int64(), "tags": pa.list_(pa.string())}
    assert list(zip(schema.names, schema.types, strict=True)) == list(expected.items())
    assert not schema.field("ad_id").nullable
    assert schema.metadata == {b"rubert_ood.run_id": b"r", b"rubert_ood.bundle": b"b"}

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rubert_ood.classifier import tokens
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.classifier.tokens import (
    SHARED_BY,
    SMALLEST_BATCH,
    length_batches,
    num_tokens,
    packed_batches,
    pad,
    tokenize,
)


@given(st.lists(st.integers(0, 300), max_size=80), st.integers(1, 2000))
def test_length_batches_hold_each_ad_once_longest_first_within_the_budget(
    lengths, budget
):
    batches = length_batches(np.array(lengths, np.int64), budget)
    order = [int(row) for batch in batches for row in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[row] for row in order] == sorted(lengths, reverse=True)
    for batch in batches:
        assert (
            len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget
        )


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(1, 2000))
def test_length_batches_end_only_where_one_more_ad_would_break_the_budget(
    lengths, budget
):
    batches = length_batches(np.array(lengths, np.int64), budget)
    for batch in batches[:-1]:
        assert (len(batch) + 1) * max(lengths[row] for row in batch) > budget


def test_length_batches_keep_the_order_of_ads_of_one_length():
    batches = length_batches(np.array([5, 9, 5, 9, 5]), 10)
    assert [batch.tolist() for batch in batches] == [[1], [3], [0, 2], [4]]


id_lists = st.lists(st.lists(st.integers(1, 999), max_size=12), min_size=1, max_size=12)


@given(id_lists, st.data())
def test_pad_lays_the_chosen_rows_out(lists, data):
    start = data.draw(st.integers(0, len(lists) - 1))
    array = pa.array(lists, pa.list_(pa.int32())).slice(
        start
    )  # a slice: its offsets do not begin at 0
    lists = lists[start:]
    rows = data.draw(
        st.lists(st.integers(0, len(lists) - 1), unique=True, max_size=len(lists))
    )
    width = max((len(lists[row]) for row in rows), default=0)
    ids_NL, mask_NL = pad(array, np.array(rows, np.int64), 777)
    assert ids_NL.dtype == mask_NL.dtype == np.int64
    assert ids_NL.shape == mask_NL.shape == (len(rows), width)
    assert ids_NL.tolist() == [
        lists[row] + [777] * (width - len(lists[row])) for row in rows
    ]
    assert mask_NL.tolist() == [
        [1] * len(lists[row]) + [0] * (width - len(lists[row])) for row in rows
    ]
    assert num_tokens(array).tolist() == [len(ids) for ids in lists]


@pytest.mark.parametrize("max_length", [8, 20, 196])
def test_tokenize_equals_the_tokenizer_called_text_by_text(
    small_checkpoint, ad_texts, max_length
):
    tokenizer = AutoTokenizer.from_pretrained(small_checkpoint)
    texts = [*ad_texts[:60], "", "a", "диван " * 500]
    got = tokenize(load_tokenizer(small_checkpoint), texts, max_length)
    assert got.type == pa.list_(pa.int32())
    cls_id, sep_id = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
    for text, ids in zip(texts, got.to_pylist(), strict=True):
        pieces = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))
        assert ids == [cls_id, *pieces[: max_length - 2], sep_id]
    lengths = [len(ids) for ids in got.to_pylist()]
    assert max(lengths) == max_length
    assert min(lengths) == 2


def test_tokenize_in_slices_changes_nothing(small_checkpoint, ad_texts, monkeypatch):
    tokenizer = load_tokenizer(small_checkpoint)
    texts = [*ad_texts[:40], "", "диван " * 5000, *ad_texts[40:50]]
    whole = tokenize(tokenizer, texts, 30)
    for size in (1, 50, 3000):
        monkeypatch.setattr(tokens, "SLICE_CHARACTERS", size)
        assert tokenize(tokenizer, texts, 30).equals(whole)


def test_tokenize_of_no_texts_gives_no_rows(small_checkpoint):
    ids = tokenize(load_tokenizer(small_checkpoint), [], 196)
    assert ids.type == pa.list_(pa.int32())
    assert num_tokens(ids).tolist() == []
    assert length_batches(num_tokens(ids), 100) == []


@pytest.mark.parametrize("budget", [1, 7, 300, 2048, 65_536])
@pytest.mark.parametrize("num_ads", [0, 1, 2, 99, 2000])
def test_packed_batches_hold_each_ad_once_longest_first_within_the_budget(
    num_ads, budget
):
    lengths = np.random.default_rng(num_ads).integers(3, 197, num_ads)
    batches = packed_batches(lengths, budget)
    order = np.concatenate([*batches, np.empty(0, np.int64)])
    assert order.tolist() == sorted(range(num_ads), key=lambda ad: (-lengths[ad], ad))
    for batch in batches:
        assert len(batch) == 1 or lengths[batch].sum() <= budget
    # nowhere more than one batch beyond what the tokens need, and their rounding up
    needed = -(-lengths.sum() // max(budget - 197, 1)) + SHARED_BY[0]
    assert len(batches) <= max(needed, num_ads if budget < 400 else 0)


@pytest.mark.parametrize(
    ("num_ads", "length", "expected"),
    [(100, 45, 8), (40, 50, 1), (60, 50, 4), (410, 45, 16), (2000, 45, 48)],
)
def test_packed_batches_are_equal_and_a_multiple_that_threads_share(
    num_ads, length, expected
):
    batches = packed_batches(np.full(num_ads, length), 2048)
    sizes = [len(batch) * length for batch in batches]
    assert len(batches) == expected
    assert sum(sizes) == num_ads * length
    assert max(sizes) - min(sizes) <= length
    assert expected == 1 or min(sizes) >= SMALLEST_BATCH

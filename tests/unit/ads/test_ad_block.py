import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.ads.ad_block import (
    ad_block,
    digest_of,
    digest_sums,
    num_with_two,
    seen_keys,
    two_texts,
)
from rubert_ood.ads.text import text_key

TEXTS = [f"вещь {number % 40}" for number in range(100)]
LABELS = np.arange(100) % 7


def _block() -> pa.Table:
    return ad_block(np.arange(100) + 5, LABELS, TEXTS)


def _digest(*blocks: pa.Table) -> str:
    return digest_of(map(digest_sums, blocks))


def test_block_has_the_first_half_of_each_text_key():
    keys = _block()["key"].to_pylist()
    assert [f"{key:016x}" for key in keys] == [text_key(text)[:16] for text in TEXTS]


def test_digest_does_not_depend_on_blocks_or_their_order():
    block = _block()
    assert len(_digest(block)) == 32
    shuffled = block.take(np.random.default_rng(0).permutation(100))
    pieces = [shuffled.slice(60), shuffled.slice(0, 13), shuffled.slice(13, 47)]
    assert _digest(*pieces) == _digest(block)


@pytest.mark.parametrize("change", ["text", "label", "row", "swap", "one less"])
def test_digest_of_other_ads_is_another(change):
    rows, labels, texts = np.arange(100) + 5, LABELS.copy(), [*TEXTS]
    if change == "text":
        texts[3] += "!"
    if change == "label":
        labels[99] = 0
    if change == "row":
        rows[99] += 1
    if change == "swap":
        texts[0], texts[1] = texts[1], texts[0]
    kept = slice(99 if change == "one less" else 100)
    other = ad_block(rows[kept], labels[kept], texts[kept])
    assert _digest(other) != _digest(_block())


def test_classes_with_two_texts_are_counted_over_blocks():
    first = ad_block(np.arange(4), np.array([0, 0, 1, 2]), ["а", "а", "б", "в"])
    second = ad_block(np.arange(3), np.array([1, 2, 3]), ["г", "в", "д"])
    assert num_with_two([two_texts(first)]) == 0
    assert num_with_two([two_texts(first), two_texts(second)]) == 1
    many = ad_block(np.arange(5), np.zeros(5, int), [*"абвгд"])
    assert {len(keys) for keys in two_texts(many).values()} == {2}


def test_seen_keys_are_those_that_a_block_has():
    keys = np.asarray(ad_block(np.arange(3), np.zeros(3), [TEXTS[7], "x", "y"])["key"])
    assert seen_keys(_block(), keys).tolist() == [keys[0]]

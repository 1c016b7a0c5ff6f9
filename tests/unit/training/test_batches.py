"""Batches of a step: each ad once, cut under the budget, in order through the thread."""

import threading
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import torch

from rubert_ood.training.batches import Layout, prefetched

PAD = 99


def _ads(lengths: list[int]) -> pa.Table:
    """Ad n has the token n, and the label n."""
    ids = [[number] * length for number, length in enumerate(lengths)]
    return pa.table(
        {"ids": pa.array(ids, pa.list_(pa.int32())), "label": np.arange(len(lengths))}
    )


LENGTHS = [3, 5, 2, 5, 8, 1, 3]


def test_layout_packs_a_whole_step_with_equal_lengths_side_by_side():
    (batch,) = Layout(pad_id=None).batches(_ads(LENGTHS))
    ids_T, lengths_N, lengths = batch.inputs
    assert isinstance(lengths, np.ndarray)
    assert lengths.tolist() == lengths_N.tolist()
    assert lengths_N.tolist() == sorted(LENGTHS, reverse=True)
    assert batch.num_tokens == sum(LENGTHS) == len(ids_T)
    expected = batch.labels_N.repeat_interleave(lengths_N)
    assert torch.equal(ids_T, expected)
    assert sorted(batch.labels_N.tolist()) == list(range(len(LENGTHS)))


@pytest.mark.parametrize("budget", [1, 8, 10, 16, 1000])
@pytest.mark.parametrize("pad_id", [None, PAD])
def test_layout_cuts_a_step_under_the_budget_and_keeps_every_ad(budget, pad_id):
    found = Layout(pad_id=pad_id, token_budget=budget).batches(_ads(LENGTHS))
    labels = torch.cat([batch.labels_N for batch in found]).tolist()
    assert sorted(labels) == list(range(len(LENGTHS)))
    assert sum(batch.num_tokens for batch in found) == sum(LENGTHS)
    for batch in found:
        lengths = [LENGTHS[label] for label in batch.labels_N.tolist()]
        assert len(lengths) == 1 or max(lengths) * len(lengths) <= budget
        if pad_id is None:
            assert batch.inputs[1].tolist() == lengths
            continue
        ids_NL, mask_NL = batch.inputs
        assert mask_NL.sum(1).tolist() == lengths
        for row, label in enumerate(batch.labels_N.tolist()):
            assert set(ids_NL[row][mask_NL[row] == 1].tolist()) == {label}
            assert set(ids_NL[row][mask_NL[row] == 0].tolist()) <= {PAD}


def test_layout_pins_every_tensor_that_is_copied_to_a_gpu(monkeypatch):
    pinned = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    (batch,) = Layout(pad_id=PAD, pinned=True).batches(_ads(LENGTHS))
    tensors = [*batch.inputs, batch.labels_N]
    assert all(any(tensor is one for one in pinned) for tensor in tensors)
    copied = batch.to(torch.device("cpu"))
    assert torch.equal(copied.inputs[0], batch.inputs[0])
    assert copied.num_tokens == batch.num_tokens


@pytest.mark.parametrize("pinned", [False, True])
def test_layout_of_steps_gives_the_batches_of_each_in_order(monkeypatch, pinned):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    steps = [_ads([2, 3]), _ads([4]), _ads([1, 1, 1])]
    found = list(Layout(pad_id=None, pinned=pinned).of_steps(iter(steps)))
    sizes = [[len(batch.labels_N) for batch in batches] for batches in found]
    assert sizes == [[2], [1], [3]]


def test_prefetched_keeps_the_order_and_works_ahead_in_a_thread():
    made, threads = [], set()

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            threads.add(threading.current_thread())
            yield number

    coming = prefetched(items(), 3)
    first = next(coming)
    while len(made) < 4:  # the three after the first come without being asked for
        threading.Event().wait(0.01)
    assert first == 0
    assert list(coming) == list(range(1, 10))
    assert threading.current_thread() not in threads


def test_prefetched_raises_what_the_thread_raises_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    coming = prefetched(items(), 2)
    assert next(coming) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(coming)


def test_prefetched_that_is_left_early_ends_its_thread():
    before = threading.active_count()
    coming = prefetched(iter(range(1000)), 2)
    next(coming)
    coming.close()
    assert threading.active_count() == before

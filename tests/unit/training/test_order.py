"""The order of an epoch: every row once, by seed and epoch alone, from any step on."""

import itertools

import numpy as np
import pytest

from rubert_ood.training import order as module
from rubert_ood.training.order import Order, step_seed

LENGTHS = np.random.default_rng(0).integers(3, 90, 1_003)


def order(num_ads: int = 8, num_workers: int = 2, seed: int = 42) -> Order:
    return Order(LENGTHS, num_ads, num_workers, seed)


@pytest.mark.parametrize(("num_ads", "num_workers"), [(8, 1), (8, 2), (16, 3), (5, 4)])
def test_order_gives_every_worker_as_many_rows_and_no_row_twice(num_ads, num_workers):
    given = order(num_ads, num_workers)
    steps = list(given.steps(0))
    assert len(steps) == given.num_steps == -(-(1_003 // num_workers) // num_ads)
    rows = np.concatenate(steps)
    assert len(rows) == len(set(rows.tolist())) == 1_003 // num_workers * num_workers
    for step in steps:
        parts = [given.of_worker(step, rank) for rank in range(num_workers)]
        assert len({len(part) for part in parts}) == 1
        assert sorted(itertools.chain(*map(list, parts))) == sorted(step.tolist())
        assert len(parts[0]) <= num_ads


def test_order_depends_on_seed_and_epoch_alone():
    first, again = (list(order().steps(3)) for _ in range(2))
    assert all(map(np.array_equal, first, again))
    for other in (order().steps(4), order(seed=7).steps(3)):
        assert not all(map(np.array_equal, first, other))


@pytest.mark.parametrize("start", [0, 1, 49, 50, 51, 62, 63])
def test_order_from_a_step_on_is_the_rest_of_the_whole(start):
    whole = list(order().steps(1))
    assert len(whole) == 63
    rest = list(order().steps(1, start=start))
    assert len(rest) == 63 - start
    assert all(map(np.array_equal, whole[start:], rest))


def test_order_leaves_another_row_out_in_each_epoch():
    out = []
    for epoch in range(4):
        taken = np.concatenate(list(order().steps(epoch)))
        out += sorted({*range(1_003)} - {*taken.tolist()})
    assert len(out) == 4
    assert len(set(out)) > 1


def test_order_puts_rows_of_like_length_into_a_step(monkeypatch):
    monkeypatch.setattr(module, "POOL_STEPS", 10)
    plain = np.random.default_rng(1).permutation(LENGTHS)
    spreads = [np.ptp(LENGTHS[step]) for step in order().steps(0)]
    shuffled = [np.ptp(plain[start : start + 16]) for start in range(0, 1_003, 16)]
    assert np.mean(spreads) < np.mean(shuffled) / 5
    longest = [LENGTHS[step].max() for step in order().steps(0)]
    assert longest != sorted(longest)  # the steps themselves are shuffled


def test_step_seed_differs_in_each_of_what_it_depends_on():
    places = itertools.product((1, 2), (0, 1), (0, 1, 2), (0, 1))
    seeds = {step_seed(*place) for place in places}
    assert len(seeds) == 24
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(42, 1, 2, 3) == step_seed(42, 1, 2, 3)

"""A worker's ads of each step: all of them once in an epoch, the same after a resume."""

import numpy as np
import pytest

from rubert_ood.pretraining.drawn import Drawn
from rubert_ood.pretraining.texts import HELD_OUT
from rubert_ood.training.token_table import TokenTable


@pytest.fixture
def table() -> TokenTable:
    """201 rows, every fifth held out; the first id of a row is its number."""
    rng = np.random.default_rng(0)
    lengths_N = rng.integers(2, 9, 201).astype(np.int32)
    starts_N = np.cumsum(lengths_N, dtype=np.int64) - lengths_N
    ids_T = np.zeros(lengths_N.sum(), np.int32)
    ids_T[starts_N] = np.arange(201)
    kinds_N = np.where(np.arange(201) % 5 == 0, HELD_OUT, 0).astype(np.int32)
    return TokenTable(ids_T, starts_N, lengths_N, kinds_N)


def _workers(table, seed=1) -> list[Drawn]:
    return [Drawn.of(table, (8, 2), seed=seed, rank=rank) for rank in (0, 1)]


def _rows(steps) -> list[int]:
    return [ids[0] for step, _ in steps for ids in step.to_pylist()]


def test_workers_take_every_train_ad_once_in_an_epoch(table):
    workers = _workers(table)
    train = set(range(201)) - set(range(0, 201, 5))
    orders = []
    for epoch in (0, 1):
        rows = []
        for worker in workers:
            rows += _rows(worker.steps(epoch, start=0))
        assert len(rows) == len(set(rows)) == len(train) // 2 * 2
        assert set(rows) <= train
        orders.append(rows)
    assert orders[0] != orders[1]


def test_resumed_epoch_takes_the_steps_that_are_left_with_the_same_draws(table):
    (worker, _) = _workers(table)
    whole, rest = list(worker.steps(2, start=0)), list(worker.steps(2, start=6))
    assert len(whole) == worker.order.num_steps == len(rest) + 6
    for (ids, rng), (again, same) in zip(whole[6:], rest, strict=True):
        assert ids.to_pylist() == again.to_pylist()
        assert rng.random() == same.random()
    draws = [rng.random() for _, rng in whole]
    assert len(set(draws)) == len(draws)


def test_held_out_ads_are_measured_once_each_with_the_same_draws(table):
    workers = _workers(table)
    rows = _rows(workers[0].held_out()) + _rows(workers[1].held_out())
    assert sorted(rows) == list(range(0, 201, 5))
    first, again = (next(iter(workers[0].held_out()))[1].random() for _ in range(2))
    assert first == again

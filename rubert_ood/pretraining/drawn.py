"""The ads that a worker takes in each step, and what draws the words that are hidden in them.

All of it follows from seed, epoch and step. Shapes: N rows of the catalogue.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rubert_ood.pretraining.layout import Step
from rubert_ood.pretraining.texts import HELD_OUT, MOST_HELD_OUT, TRAIN
from rubert_ood.training.batches import ids_of
from rubert_ood.training.order import Order, step_seed
from rubert_ood.training.token_table import TokenTable

EVAL_ADS = 64
"""Held-out ads of a worker and step."""


@dataclass(frozen=True)
class Drawn:
    """The rows of a catalogue, as one worker sees them."""

    table: TokenTable
    train_N: np.ndarray
    """Rows that are trained on."""
    held_out_N: np.ndarray
    """Rows that are measured, by their length."""
    order: Order
    """Of the places in `train_N`."""
    rank: int

    @classmethod
    def of(
        cls, table: TokenTable, size: tuple[int, int], *, seed: int, rank: int
    ) -> "Drawn":
        """Look at a table; size: ads of a worker and step, and workers."""
        kinds_N = np.asarray(table.labels_N)
        train_N = np.flatnonzero(kinds_N == TRAIN).astype(np.int32)
        held_out_N = np.flatnonzero(kinds_N == HELD_OUT)
        held_out_N = held_out_N[:MOST_HELD_OUT]
        lengths_N = table.lengths_N[held_out_N]
        held_out_N = held_out_N[np.argsort(lengths_N, kind="stable")]
        order = Order(table.lengths_N[train_N], *size, seed)
        return cls(table, train_N, held_out_N, order, rank)

    def seed(self, epoch: int, step: int) -> int:
        """Return the seed of what is random inside a step of this worker."""
        return step_seed(self.order.seed, epoch, step, self.rank)

    def steps(self, epoch: int, *, start: int) -> Iterator[Step]:
        """Yield the steps of an epoch from step `start` on."""
        steps = self.order.steps(epoch, start=start)
        for number, places in enumerate(steps, start=start):
            mine = self.order.of_worker(places, self.rank)
            seed = self.seed(epoch, number)
            yield self._ids(self.train_N[mine], seed)

    def held_out(self) -> Iterator[Step]:
        """Yield the held-out ads of this worker; the same words are hidden every time."""
        mine = self.held_out_N[self.rank :: self.order.num_workers]
        for start in range(0, len(mine), EVAL_ADS):
            rows = mine[start : start + EVAL_ADS]
            yield self._ids(rows, (start, self.rank))

    def _ids(self, rows: np.ndarray, seed: int | tuple[int, ...]) -> Step:
        ids = ids_of(self.table.take(rows))
        return ids, np.random.default_rng(seed)

"""Which rows each step of an epoch takes: a function of seed, epoch and step, and of nothing else.

So a training that is resumed in the middle of an epoch skips what is done, wherever it runs now.

Shapes: N rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

POOL_STEPS = 50
"""Steps drawn together and cut by length, so that a step pads little; their order stays random."""


@dataclass(frozen=True)
class Order:
    """The order of the rows of one table; all workers compute the same."""

    lengths_N: np.ndarray
    """Tokens of each row."""
    num_ads: int
    """Of each worker in a step."""
    num_workers: int
    seed: int

    @property
    def num_rows(self) -> int:
        """Rows of an epoch: the same number for each worker, so at most workers - 1 stay out."""
        return len(self.lengths_N) // self.num_workers * self.num_workers

    @property
    def num_steps(self) -> int:
        """Steps of an epoch; the last one may be smaller."""
        return -(-self.num_rows // self._step_rows)

    @property
    def _step_rows(self) -> int:
        return self.num_ads * self.num_workers

    def steps(self, epoch: int, *, start: int = 0) -> Iterator[np.ndarray]:
        """Yield the rows of each step of an epoch from step `start` on, of all workers together.

        A step holds rows of like length, shortest first; rows of a worker: `of_worker`. Epochs
        differ in the rows that stay out.
        """
        drawn = np.arange(len(self.lengths_N), dtype=np.int32)
        np.random.default_rng((self.seed, epoch)).shuffle(drawn)
        pool_rows = POOL_STEPS * self._step_rows
        first, skipped = divmod(start, POOL_STEPS)
        num_pools = -(-self.num_rows // pool_rows)
        for pool in range(first, num_pools):
            begin = pool * pool_rows
            end = min(begin + pool_rows, self.num_rows)
            generator = np.random.default_rng((self.seed, epoch, pool))
            steps = self._cut(drawn[begin:end], generator)
            yield from steps[skipped:]
            skipped = 0

    def _cut(self, rows: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
        """Cut a pool by length into steps, in random order."""
        order = np.argsort(self.lengths_N[rows], kind="stable")
        by_length, size = rows[order], self._step_rows
        starts = generator.permutation(np.arange(0, len(rows), size))
        return [by_length[start : start + size] for start in starts]

    def of_worker(self, rows: np.ndarray, rank: int) -> np.ndarray:
        """Choose a worker's rows of a step: as many as every other's, and of like length."""
        return rows[rank :: self.num_workers]


def step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """Return the seed of what is random inside a step of a worker, which is dropout.

    A resumed training gives the same numbers as one that was not disturbed.
    """
    state = np.random.SeedSequence((seed, epoch, step, rank)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))

"""From a worker's rows to the batches of its steps: laid out, pinned, ahead of time.

Shapes: N ads, L tokens of the longest one, T tokens together.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import torch

from rubert_ood.classifier.tokens import length_batches, num_tokens, pack, pad

PREFETCHED_STEPS = 4

Item = TypeVar("Item")
Input: TypeAlias = torch.Tensor | np.ndarray


@dataclass(frozen=True)
class Batch:
    """The ads of one forward pass."""

    inputs: tuple[Input, ...]
    """Packed: ids (T,), lengths (N,), and the lengths again as an array that stays on the host.
    Padded: ids (N, L), mask (N, L). int64. What the network takes beside them follows."""
    labels_N: torch.Tensor
    num_tokens: int
    """Real ones."""

    def to(self, device: torch.device) -> "Batch":
        """Copy to the device, without a wait where the memory is pinned."""
        moved: list[Input] = []
        for part in self.inputs:
            if isinstance(part, torch.Tensor):
                part = part.to(device, non_blocking=True)
            moved.append(part)
        return Batch(
            tuple(moved),
            self.labels_N.to(device, non_blocking=True),
            self.num_tokens,
        )


@dataclass(frozen=True)
class Layout:
    """How the ads of a step lie in memory."""

    pad_id: int | None
    """What fills up short ads; None packs them."""
    token_budget: int | None = None
    """Tokens of one forward pass, padding included; None takes a step whole."""
    pinned: bool = False

    def of_steps(self, steps: Iterator[pa.Table]) -> Iterator[list[Batch]]:
        """Lay steps out; for a GPU a thread makes and pins the next ones."""
        laid_out = map(self.batches, steps)
        return prefetched(laid_out, PREFETCHED_STEPS) if self.pinned else laid_out

    def batches(self, ads: pa.Table) -> list[Batch]:
        """Lay a step out, ads of equal length side by side; the first batch has the longest ads."""
        ids, labels_N = ids_of(ads), np.array(ads["label"])
        budget = self.token_budget or int(max(num_tokens(ids)) * len(ids))
        cut = length_batches(num_tokens(ids), budget)
        return [self._batch(ids, labels_N, rows) for rows in cut]

    def _batch(self, ids: pa.ListArray, labels_N: np.ndarray, rows: np.ndarray) -> Batch:
        pad_id = self.pad_id
        arrays = pack(ids, rows) if pad_id is None else pad(ids, rows, pad_id)
        inputs: tuple[Input, ...] = tuple(map(self._tensor, arrays))
        if pad_id is None:
            inputs = (*inputs, arrays[1])
        num_real = int(num_tokens(ids)[rows].sum())
        return Batch(inputs, self._tensor(labels_N[rows]), num_real)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory() if self.pinned else tensor


def ids_of(ads: pa.Table) -> pa.ListArray:
    """Return the token ids of each ad."""
    return pa.concat_arrays(ads["ids"].chunks)


def prefetched(items: Iterator[Item], depth: int) -> Iterator[Item]:
    """Yield the items in their order while a thread makes the next ones; none of them is None.

    What the thread raises is raised here.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = deque([thread.submit(next, items, None) for _ in range(depth)])
        while (item := coming.popleft().result()) is not None:
            coming.append(thread.submit(next, items, None))
            yield item

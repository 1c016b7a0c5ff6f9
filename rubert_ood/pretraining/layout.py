"""From the ads of a step to batches with hidden words, laid out for the network.

Shapes: N ads, L tokens of the longest; M hidden tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from rubert_ood.classifier.tokens import length_batches, num_tokens, pack, pad
from rubert_ood.pretraining.masking import Masker
from rubert_ood.training.batches import PREFETCHED_STEPS, Batch, Input, prefetched

Step = tuple[pa.ListArray, np.random.Generator]
"""The ids of the ads of a step, and what draws the words that are hidden."""


@dataclass(frozen=True)
class MaskedLayout:
    """How the ads of a step lie in memory: `training/batches.py`, with places of hidden tokens."""

    masker: Masker
    pad_id: int | None
    """What fills up short ads; None packs them."""
    token_budget: int | None = None
    """Tokens of one forward pass, padding included; None takes a step whole."""
    pinned: bool = False

    def of_steps(self, steps: Iterator[Step]) -> Iterator[list[Batch]]:
        """Lay steps out; for a GPU a thread makes and pins the next ones."""
        laid_out = map(self.batches, steps)
        return prefetched(laid_out, PREFETCHED_STEPS) if self.pinned else laid_out

    def batches(self, step: Step) -> list[Batch]:
        """Hide words and lay a step out; the labels are what was hidden."""
        ids, generator = step
        lengths_N = num_tokens(ids)
        whole = int(lengths_N.max()) * len(ids)
        batches = []
        for rows in length_batches(lengths_N, self.token_budget or whole):
            packed = pack(ids, rows)
            batches.append(self._batch(*packed, generator))
        return batches

    def _batch(
        self,
        ids_T: np.ndarray,
        lengths_N: np.ndarray,
        generator: np.random.Generator,
    ) -> Batch:
        masked = self.masker.hide(ids_T, generator)
        arrays = masked.ids_T, lengths_N, masked.places_M
        if self.pad_id is not None:
            ends_N = np.cumsum(lengths_N)
            offsets = np.concatenate([[0], ends_N])
            ids = pa.ListArray.from_arrays(
                pa.array(offsets, pa.int32()),
                pa.array(masked.ids_T),
            )
            rows = np.arange(len(ids))
            ids_NL, mask_NL = pad(ids, rows, self.pad_id)
            places_T = np.flatnonzero(mask_NL)
            arrays = ids_NL, mask_NL, places_T[masked.places_M]
        inputs: tuple[Input, ...] = tuple(map(self._tensor, arrays))
        if self.pad_id is None:
            inputs = (*inputs, lengths_N)
        hidden_M = self._tensor(masked.hidden_M)
        return Batch(inputs, hidden_M, len(ids_T))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory() if self.pinned else tensor

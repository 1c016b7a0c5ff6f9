"""What the steps of an epoch add up to, on this worker and on all."""

import math
import time

import numpy as np
import torch
import torch.distributed

from rubert_ood.errors import SettingsError
from rubert_ood.training.batches import Batch
from rubert_ood.training.checkpoints import EpochSums


class EpochCounter:
    """Adds up losses on the device, so that no step waits for one."""

    def __init__(self, before: EpochSums, device: torch.device) -> None:
        """Go on from the sums of a checkpoint within the epoch."""
        self._before = before
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._num_steps = self._num_tokens = 0
        self._started = time.monotonic()

    def add(self, loss: torch.Tensor, step: list[Batch]) -> None:
        """Count a step with its mean loss."""
        self._loss += loss
        self._num_steps += 1
        self._num_tokens += sum(batch.num_tokens for batch in step)

    def mean_loss(self) -> float:
        """Return the mean loss of this worker's steps since it began; waits for the device."""
        return float(self._loss) / max(1, self._num_steps)

    def tokens_per_s(self) -> float:
        """Return the rate of this worker since it began, padding not counted."""
        return self._num_tokens / (time.monotonic() - self._started)

    def sums(self, epoch: int) -> EpochSums:
        """Return the sums of all workers; every one of them calls it.

        Raises SettingsError when the loss is not finite.
        """
        mine = [
            float(self._loss),
            self._num_steps,
            self._num_tokens,
        ]
        num_workers = torch.distributed.get_world_size()
        sums = [mine] * num_workers
        torch.distributed.all_gather_object(sums, mine)
        loss, num_losses, num_tokens = np.sum(sums, axis=0).tolist()
        if not math.isfinite(loss):
            raise SettingsError(
                "optimiser.learning_rate: training diverged (the loss of"
                f" epoch {epoch + 1} is not finite). Lower it"
            )
        before, seconds = self._before, time.monotonic() - self._started
        return EpochSums(
            loss=before.loss + loss,
            losses=before.losses + int(num_losses),
            tokens=before.tokens + int(num_tokens),
            seconds=before.seconds + seconds,
        )

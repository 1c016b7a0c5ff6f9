"""A step of training: forward and backward passes, then one change of the weights.

Shapes: N ads, C classes.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from rubert_ood.classifier.precision import Device
from rubert_ood.training.batches import Batch


@dataclass(frozen=True)
class Stepper:
    """Changes a model by the gradient of a step's mean loss, however its ads are cut."""

    model: torch.nn.Module
    device: Device
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    max_grad_norm: float
    after_step: Callable[[torch.Tensor], None] | None = None
    """Told the norm of each gradient, before clipping, once the weights have changed."""

    @cached_property
    def _weights(self) -> list[torch.nn.Parameter]:
        """Found once: to look through all modules takes a millisecond of a step."""
        return list(self.model.parameters())

    def take(self, batches: list[Batch]) -> torch.Tensor:
        """Take a step; return this worker's mean loss, on the device."""
        self.optimiser.zero_grad(set_to_none=True)
        num_ads = sum(len(batch.labels_N) for batch in batches)
        losses = []
        for batch in batches:
            with self._sync(is_last=batch is batches[-1]):
                loss = summed_loss(*compute(self.model, batch, self.device)) / num_ads
                loss.backward()
            losses.append(loss.detach())
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self.max_grad_norm)
        self.optimiser.step()
        if self.after_step:
            self.after_step(norm)
        self.schedule.step()
        return torch.stack(losses).sum()

    def _sync(self, *, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Let the workers add up their gradients after the last batch of a step alone."""
        if is_last or not isinstance(self.model, DistributedDataParallel):
            return contextlib.nullcontext()
        waiting: contextlib.AbstractContextManager[None] = self.model.no_sync()
        return waiting


def compute(
    model: torch.nn.Module, batch: Batch, device: Device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (N, C), float32, and labels (N,) of a batch, on the device."""
    batch = batch.to(device.device)
    return model(*batch.inputs).float(), batch.labels_N


def seed_dropout(device: torch.device, seed: int) -> None:
    """Seed what is random on a device: `torch.manual_seed` seeds all that there are, in 0.3 ms."""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def summed_loss(logits_NC: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Add up the losses of the ads."""
    return cross_entropy(logits_NC, labels_N, reduction="sum")

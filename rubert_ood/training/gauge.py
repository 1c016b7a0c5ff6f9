"""What the curves of a training show beside its losses: gradient norm and learning rate."""

import torch

from rubert_ood.training.checkpoints import EpochSums

NONE = EpochSums()


class Gauge:
    """Adds up over the steps of an epoch, those before a resume too; the device is not waited for
    until somebody asks."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        """Watch an optimiser."""
        self._optimiser = optimiser
        self.restart()

    def restart(self, before: EpochSums = NONE, *, num_steps: int = 0) -> None:
        """Begin an epoch, or go on after so many of its steps."""
        self._norm: torch.Tensor | float = before.grad_norm
        self._rate, self._num_steps = before.learning_rate, num_steps

    def note(self, norm: torch.Tensor) -> None:
        """Note a step with the norm of its gradient, before its rate changes."""
        self._norm = self._norm + norm.detach().double()
        self._rate += max(group["lr"] for group in self._optimiser.param_groups)
        self._num_steps += 1

    def sums(self) -> dict[str, float]:
        """Return `grad_norm`, before clipping, and `learning_rate`, the highest of all layers."""
        return {"grad_norm": float(self._norm), "learning_rate": self._rate}

    def means(self) -> dict[str, float]:
        """Return the same for a step."""
        count = max(1, self._num_steps)
        return {name: total / count for name, total in self.sums().items()}

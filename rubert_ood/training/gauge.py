"""What the curves of a training show beside its losses: gradient norm and learning rate."""

import torch


class Gauge:
    """Means over the steps of an epoch, since it began or was resumed; the device is not waited
    for."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        """Watch an optimiser."""
        self._optimiser = optimiser
        self.restart()

    def restart(self) -> None:
        """Begin an epoch."""
        self._norm: torch.Tensor | float = 0.0
        self._rate, self._num_steps = 0.0, 0

    def note(self, norm: torch.Tensor) -> None:
        """Note a step with the norm of its gradient, before its rate changes."""
        self._norm = self._norm + norm.detach()
        self._rate += max(group["lr"] for group in self._optimiser.param_groups)
        self._num_steps += 1

    def means(self) -> dict[str, float]:
        """Return `grad_norm`, before clipping, and `learning_rate`, the highest of all layers."""
        count = max(1, self._num_steps)
        return {
            "grad_norm": float(self._norm) / count,
            "learning_rate": self._rate / count,
        }

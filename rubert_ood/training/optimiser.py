"""AdamW and its learning rate."""

from typing import Any

import torch

from rubert_ood.settings import OptimiserSettings


def make_optimiser(network: Any, settings: OptimiserSettings) -> torch.optim.AdamW:
    """Make AdamW, which changes all weights in one pass over memory."""
    groups = _parameter_groups(network, settings)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def _parameter_groups(network: Any, settings: OptimiserSettings) -> list[Any]:
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    exempt = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]


def make_schedule(
    optimiser: torch.optim.Optimizer, settings: OptimiserSettings, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Rise linearly over the warm-up, then decay linearly to 0 at the last step."""
    total = steps_per_epoch * settings.num_epochs
    warmup = int(total * settings.warmup_fraction)

    def factor(step: int) -> float:
        return (
            (step + 1) / (warmup + 1)
            if step < warmup
            else max(0.0, (total - step) / (total - warmup))
        )

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)

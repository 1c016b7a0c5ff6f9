"""AdamW and its learning rate, layer by layer and step by step."""

import re
from collections import defaultdict
from typing import Any

import torch

from rubert_ood.settings import OptimiserSettings

RATE, WIDTH = 5e-5, 768
"""Peak learning rate of a BERT of that width; narrower ones take a larger one."""
LAYER = re.compile(r"\blayers?\.(\d+)\.")


def make_optimiser(network: Any, settings: OptimiserSettings) -> torch.optim.AdamW:
    """Make AdamW, which changes all weights in one pass over memory."""
    rate = settings.learning_rate or default_rate(network.config.hidden_size)
    groups = _parameter_groups(network, settings, rate)
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def default_rate(width: int) -> float:
    """Return the peak learning rate of a network whose tokens have so many numbers."""
    return RATE * (WIDTH / width) ** 2


def _parameter_groups(
    network: Any, settings: OptimiserSettings, rate: float
) -> list[dict[str, Any]]:
    """Return matrices and the rest, apart by depth where layers have rates of their own."""
    depths = layer_depths(network) if settings.layer_decay < 1 else {}
    groups: dict[tuple[int, bool], list[torch.nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        groups[depths.get(name, 0), parameter.ndim <= 1].append(parameter)
    return [
        {
            "params": groups[depth, is_exempt],
            "weight_decay": 0.0 if is_exempt else settings.weight_decay,
            "lr": rate * settings.layer_decay**depth,
        }
        for depth, is_exempt in sorted(groups)
    ]


def layer_depths(network: torch.nn.Module) -> dict[str, int]:
    """Return by the name of each weight how many layers lie between it and the top one.

    The head lies as high as the top layer, the embeddings below the lowest.
    """
    found, depths = {}, {}
    for name, _ in network.named_parameters():
        if match := LAYER.search(name):
            found[name] = int(match.group(1))
    num_layers = 1 + max(found.values(), default=-1)
    for name, _ in network.named_parameters():
        lowest = num_layers if "embedding" in name else 0
        depths[name] = num_layers - 1 - found[name] if name in found else lowest
    return depths


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

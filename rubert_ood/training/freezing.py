"""Layers that stay as the checkpoint has them: those far from the head learn least."""

import torch

from rubert_ood.training.optimiser import layer_depths


def freeze_below(network: torch.nn.Module, num_trained: int | None) -> None:
    """Leave that many top layers to be trained, with pooler and head; None: everything.

    What is frozen is read without dropout, and has no gradient to compute.
    """
    if num_trained is None:
        return
    for name, depth in layer_depths(network).items():
        if depth >= num_trained:
            network.get_parameter(name).requires_grad_(requires_grad=False)
    for module in network.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            _without_dropout(module)


def _without_dropout(frozen: torch.nn.Module) -> None:
    for module in frozen.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0

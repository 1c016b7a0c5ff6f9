"""The layers of a BERT as a pass of training runs them: in fp32, or in bf16 with weights in fp32.

In bf16 each layer has a twin without weights of its own, which takes those of the layer, cast once
for a pass by one kernel; its gradients come back in fp32 by another. Autocast would cast them one
by one, and the rows before every product: on a GPU a step of small batches then waits for the
processor that starts its kernels. As in scoring the norm that makes the CLS vector is fp32.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from rubert_ood.classifier.packed import NormInFp32


class _InBf16(torch.autograd.Function):
    """Cast many weights at once; their gradients are cast back at once."""

    @staticmethod
    def forward(_context: Any, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _cast(weights, torch.bfloat16)

    @staticmethod
    def backward(_context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _cast(gradients, torch.float32)


def _cast(
    tensors: tuple[torch.Tensor, ...], dtype: torch.dtype
) -> tuple[torch.Tensor, ...]:
    found = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    torch._foreach_copy_(found, list(tensors))
    return tuple(found)


@dataclass(frozen=True)
class _Slot:
    """Where a twin has a weight of its layer."""

    module: torch.nn.Module
    name: str
    weight: torch.nn.Parameter


class LayersInBf16(torch.nn.Module):
    """The layers of an encoder in bf16; the weights that are trained stay where they are."""

    def __init__(self, layers: torch.nn.ModuleList) -> None:
        super().__init__()
        self.twins = torch.nn.ModuleList([_twin(layer) for layer in layers])
        norm, last = layers[-1].output.LayerNorm, self.twins[-1]
        last.output.LayerNorm = torch.nn.Identity()
        self._slots = [list(_emptied(twin)) for twin in self.twins]
        last.output.LayerNorm = NormInFp32(norm)

    def forward(self) -> list[Any]:
        """Return the layers for one pass, with the weights of this moment."""
        for slots in self._slots:
            cast = _InBf16.apply(*[slot.weight for slot in slots])
            for slot, weight in zip(slots, cast, strict=True):
                # setattr of a module looks through its tables first: 2,000 times a second
                slot.module.__dict__[slot.name] = weight
        return list(self.twins)


class LayersInFp32(torch.nn.Module):
    """The layers of an encoder as they are."""

    def __init__(self, layers: torch.nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def forward(self) -> list[Any]:
        """Return the layers for one pass."""
        return list(self.layers)


def _twin(layer: torch.nn.Module) -> Any:
    """Return a copy that has the very weights of the layer."""
    shared: dict[int, Any] = {id(weight): weight for weight in layer.parameters()}
    return copy.deepcopy(layer, shared)


def _emptied(twin: torch.nn.Module) -> Iterator[_Slot]:
    """Take the weights out of a twin, and yield where they belong."""
    for module in twin.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            yield _Slot(module, name, weight)

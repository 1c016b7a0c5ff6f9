"""The layers of a BERT as a pass of training runs them: in fp32, or in bf16 with weights in fp32.

In bf16 each layer has a twin without weights of its own, which takes those of the layer, cast once
for a pass by one kernel; its gradients come back in fp32 by another. Autocast would cast them one
by one, and the rows before every product: on a GPU a step of small batches then waits for the
processor that starts its kernels. For the same reason queries, keys and values are one product
where they are of the same rows: in all layers but the last. As in scoring the norm that makes the
CLS vector is fp32.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rubert_ood.classifier.packed import NormInFp32


class _InBf16(torch.autograd.Function):
    """Cast many weights at once, some of them into one matrix; their gradients are cast back at
    once."""

    @staticmethod
    def forward(
        context: Any, rows: list[list[int]], *weights: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        context.rows = rows
        found, parts = list[torch.Tensor](), list[torch.Tensor]()
        for sizes in rows:
            first = weights[len(parts)]
            shape = sum(sizes), *first.shape[1:]
            found.append(torch.empty(shape, dtype=torch.bfloat16, device=first.device))
            parts += _split(found[-1], sizes)
        torch._foreach_copy_(parts, list(weights))
        return tuple(found)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        parts = list[torch.Tensor]()
        for gradient, sizes in zip(gradients, context.rows, strict=True):
            parts += _split(gradient, sizes)
        found = [torch.empty_like(part, dtype=torch.float32) for part in parts]
        torch._foreach_copy_(found, parts)
        return None, *found


def _split(tensor: torch.Tensor, sizes: list[int]) -> Sequence[torch.Tensor]:
    return tensor.split(sizes) if len(sizes) > 1 else [tensor]


@dataclass(frozen=True)
class _Slot:
    """Where a twin has weights of its layer, one below the other."""

    module: torch.nn.Module
    name: str
    weights: tuple[torch.nn.Parameter, ...]


@dataclass(frozen=True)
class _Slots:
    """Those of a twin, and what a pass casts for them."""

    slots: list[_Slot]
    rows: list[list[int]]
    """Of each weight, by slot."""
    weights: list[torch.nn.Parameter]

    @classmethod
    def of(cls, slots: list[_Slot]) -> "_Slots":
        rows, weights = list[list[int]](), list[torch.nn.Parameter]()
        for slot in slots:
            rows.append([len(weight) for weight in slot.weights])
            weights += slot.weights
        return cls(slots, rows, weights)

    def fill(self) -> None:
        """Put the weights of this moment where they belong."""
        cast = _InBf16.apply(self.rows, *self.weights)
        for slot, weight in zip(self.slots, cast, strict=True):
            # setattr of a module looks through its tables first: 2,000 times a second
            slot.module.__dict__[slot.name] = weight


class LayersInBf16(torch.nn.Module):
    """The layers of an encoder in bf16; the weights that are trained stay where they are."""

    def __init__(self, layers: torch.nn.ModuleList) -> None:
        super().__init__()
        self.twins = torch.nn.ModuleList([_twin(layer) for layer in layers])
        norm, last = layers[-1].output.LayerNorm, self.twins[-1]
        last.output.LayerNorm = torch.nn.Identity()
        self._slots = []
        for twin in self.twins:
            joined = _joined(twin.attention.self) if twin is not last else []
            self._slots.append(_Slots.of([*joined, *_emptied(twin)]))
        last.output.LayerNorm = NormInFp32(norm)

    def forward(self) -> list[Any]:
        """Return the layers for one pass, with the weights of this moment."""
        for slots in self._slots:
            slots.fill()
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


def _joined(attention: Any) -> list[_Slot]:
    """Make one layer of those of queries, keys and values, and return its slots."""
    parts = attention.query, attention.key, attention.value
    together = attention.query_key_value = attention.query
    del attention.query, attention.key, attention.value
    slots = [_Slot(together, "weight", tuple(part.weight for part in parts))]
    if together.bias is not None:
        slots.append(_Slot(together, "bias", tuple(part.bias for part in parts)))
    for slot in slots:
        delattr(together, slot.name)
    return slots


def _emptied(twin: torch.nn.Module) -> Iterator[_Slot]:
    """Take the weights out of a twin, and yield where they belong."""
    for module in twin.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            yield _Slot(module, name, (weight,))

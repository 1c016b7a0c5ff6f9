"""Fewer passes over the memory of a GPU: GELU inside the product before it, sum and norm as one
kernel.

For an encoder in bf16 alone: a product of cuBLASLt ends in the tanh form of GELU, which is nearer
to the exact one than bf16 can tell (Hendrycks and Gimpel, 2016, section 2). Each is tried on a few
rows first; a machine on which one does not run keeps its own layers, with a line in the log.

Shapes: N rows, H hidden, F numbers of the feed-forward layer.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, linear

from rubert_ood.progress import StepLog

log = StepLog("compute")

TRIAL_ROWS = 5
TOLERANCE = 0.05
"""Of numbers about 1: some steps of bf16."""


class ProductThenGelu(torch.nn.Module):
    """A linear layer and GELU in one kernel, for inference."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.weight_HF = layer.weight.detach().t()
        self.bias_F = layer.bias.detach()

    def forward(self, rows_NH: torch.Tensor) -> torch.Tensor:
        """Return (N, F)."""
        return torch._addmm_activation(
            self.bias_F, rows_NH, self.weight_HF, use_gelu=True
        )


class SumThenNorm(torch.nn.Module):
    """The output of a BERT's attention or feed-forward layer, for inference: a product, then the
    norm of its sum with what went in."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.dense, self.norm = output.dense, output.LayerNorm
        self.sum_then_norm = compiled()

    def forward(self, rows: torch.Tensor, before_NH: torch.Tensor) -> torch.Tensor:
        """Return (N, H); rows are (N, H) or (N, F)."""
        norm = self.norm
        return self.sum_then_norm(
            self.dense(rows), before_NH, norm.weight, norm.bias, norm.eps
        )


def sum_then_norm(
    rows_NH: torch.Tensor,
    before_NH: torch.Tensor,
    weight_H: torch.Tensor,
    bias_H: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    """Return the layer norm of the sum (N, H)."""
    return layer_norm(rows_NH + before_NH, weight_H.shape, weight_H, bias_H, eps)


@lru_cache
def compiled() -> Callable[..., torch.Tensor]:
    """Return `sum_then_norm`, to be compiled for any number of rows when it is first called."""
    # one kernel needs no pool of processes that compile
    options: dict[str, str | int | bool | Callable[..., Any]] = {"compile_threads": 1}
    return torch.compile(sum_then_norm, dynamic=True, options=options)


@torch.inference_mode()
def use_fused(network: Any, device: torch.device) -> None:
    """Replace what can be fused in a BERT's encoder in bf16 on this device, in place; the last
    layer keeps its own norms."""
    encoder = network.bert.encoder
    if network.config.hidden_act == "gelu" and _can_end_in_gelu(device):
        for layer in encoder.layer:
            layer.intermediate = ProductThenGelu(layer.intermediate.dense)
    if _can_compile(device, network.config.hidden_size):
        for layer in encoder.layer[:-1]:
            layer.attention.output = SumThenNorm(layer.attention.output)
            layer.output = SumThenNorm(layer.output)


def _can_end_in_gelu(device: torch.device) -> bool:
    layer = torch.nn.Linear(24, 16, dtype=torch.bfloat16, device=device)
    rows_NH = _noise(device, 24)
    expected = gelu(linear(rows_NH, layer.weight, layer.bias))
    return _agrees("GELU in a product", expected, ProductThenGelu(layer), rows_NH)


def _can_compile(device: torch.device, hidden_size: int) -> bool:
    """Compile for this size, so that no batch waits for it."""
    rows, before = _noise(device, hidden_size), _noise(device, hidden_size)
    weight, bias = rows[0], before[0]
    inputs = rows, before, weight, bias, 1e-12
    expected = sum_then_norm(*inputs)
    return _agrees("sum and norm in one kernel", expected, compiled(), *inputs)


def _agrees(
    name: str, expected: torch.Tensor, run: Callable[..., torch.Tensor], *inputs: Any
) -> bool:
    """Say whether a kernel runs here and gives these numbers; log it where it does not."""
    try:
        difference = float((run(*inputs).float() - expected.float()).abs().max())
    except Exception as error:  # a compiler may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        log.warning(
            "%s does not run on this GPU, so scoring will be slower: %s", name, reason
        )
        return False
    if difference > TOLERANCE:
        log.warning(
            "%s differs by %.2g on this GPU and is not used, so scoring will be slower",
            name,
            difference,
        )
        return False
    return True


def _noise(device: torch.device, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    rows_NH = torch.randn(TRIAL_ROWS, size, generator=generator)
    return rows_NH.to(device, torch.bfloat16)

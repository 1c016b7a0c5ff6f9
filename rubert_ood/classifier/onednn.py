"""Linear layers by oneDNN with weights in its own layout, instead of torch's default, MKL.

On AMD processors MKL leaves half of the machine unused (docs/performance.md); elsewhere the two are
level. The numbers are those of torch, in another order of summation. The operators are the ones
that torch.compile uses on CPU; `can_use` tries them once, so that a torch or a processor without
them falls back to its own layers.
"""

from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import gelu, linear

EXACT_GELU = ("gelu", "none")
NO_ACTIVATION = ("none", "")
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 0.05}


class OneDnnLinear(torch.nn.Module):
    """A linear layer, or one with the exact GELU after it, for inference in fp32 or bf16."""

    def __init__(
        self, layer: torch.nn.Linear, activation: tuple[str, str] = NO_ACTIVATION
    ) -> None:
        super().__init__()
        self.activation = activation
        weight = layer.weight.detach()
        self.packed_weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.packed_bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what the layer makes of rows (N, H)."""
        name, algorithm = self.activation
        return torch.ops.mkldnn._linear_pointwise(
            rows, self.packed_weight, self.packed_bias, name, [], algorithm
        )


@lru_cache
def can_use(dtype: torch.dtype = torch.float32) -> bool:
    """Try the operators on one small layer in such numbers."""
    layer, rows = torch.nn.Linear(24, 8, dtype=dtype), torch.randn(5, 24, dtype=dtype)
    atol = TOLERANCES[dtype]
    try:
        with torch.inference_mode():
            plain, activated = (
                OneDnnLinear(layer)(rows),
                OneDnnLinear(layer, EXACT_GELU)(rows),
            )
            expected = linear(rows, layer.weight, layer.bias)
            return torch.allclose(plain, expected, atol=atol) and torch.allclose(
                activated, gelu(expected), atol=atol
            )
    except (AttributeError, RuntimeError, TypeError):
        return False


def use_onednn(network: Any) -> None:
    """Replace the linear layers of a BERT's encoder, in place; each weight is held once."""
    for layer in network.bert.encoder.layer:
        if network.config.hidden_act == "gelu":
            layer.intermediate = OneDnnLinear(layer.intermediate.dense, EXACT_GELU)
        for module in list(layer.modules()):
            for name, child in list(module.named_children()):
                if type(child) is torch.nn.Linear:
                    setattr(module, name, OneDnnLinear(child))

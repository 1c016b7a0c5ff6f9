"""Linear layers by oneDNN with a backward pass, for training in fp32 on CPU.

As in `classifier/onednn.py`, but on the weights as they lie, since every step changes them. The
three products of a layer take transposed views, so that nothing is copied.

Shapes: R rows, I inputs, O outputs.
"""

from typing import Any

import torch

from rubert_ood.classifier.onednn import NO_ACTIVATION


class _Product(torch.autograd.Function):
    """x W' + b and its gradients."""

    @staticmethod
    def forward(
        context: Any,
        rows_RI: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
    ) -> torch.Tensor:
        context.save_for_backward(rows_RI, weight_OI)
        context.has_bias = bias_O is not None
        return _multiply(rows_RI, weight_OI, bias_O)

    @staticmethod
    def backward(context: Any, gradient_RO: torch.Tensor) -> Any:
        rows_RI, weight_OI = context.saved_tensors
        gradient_RO = gradient_RO.contiguous()
        bias_O = gradient_RO.sum(0) if context.has_bias else None
        return (
            _multiply(gradient_RO, weight_OI.t()),
            _multiply(gradient_RO.t(), rows_RI.t()),
            bias_O,
        )


def _multiply(
    left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return left right' + bias."""
    name, algorithm = NO_ACTIVATION
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, name, [], algorithm)


class TrainedLinear(torch.nn.Linear):
    """A linear layer whose products are those of oneDNN; its rows lie in one matrix."""

    def forward(self, rows_RI: torch.Tensor) -> torch.Tensor:
        """Return what the layer makes of rows (R, I)."""
        return _Product.apply(rows_RI, self.weight, self.bias)


def use_onednn(encoder: torch.nn.Module) -> None:
    """Let the linear layers of an encoder compute so, in place; parameters keep their names."""
    for module in encoder.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = TrainedLinear

"""Attention with dropout and gradients inside each ad of a packed batch.

Shapes: T tokens, N ads; A heads of D dimensions.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from rubert_ood.classifier.attention import (
    TRIAL_LENGTHS,
    Attention,
    ByLength,
    Packed,
    small_tiles,
)
from rubert_ood.classifier.precision import Device
from rubert_ood.progress import StepLog

log = StepLog("train")

TRIAL_DROPOUT = 0.5
TRIAL_TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.02}
"""Of the norm of all numbers; an ad of one token that is wrong is 8 % of it."""


class TrainedAttention(Protocol):
    """Makes the attention of a batch of its lengths, here and on the device: int64 (N,) each."""

    def __call__(
        self, lengths: np.ndarray, lengths_N: torch.Tensor, dropout_p: float, /
    ) -> Attention:
        """Equal lengths lie side by side; dropout_p of the attention weights become zero."""


def one_kernel(
    lengths: np.ndarray, lengths_N: torch.Tensor, dropout_p: float
) -> Attention:
    """Attend by the one kernel of a GPU that takes packed ads and has dropout."""
    return Packed((partial(small_tiles, dropout_p=dropout_p),), lengths, lengths_N)


def choose_trained_attention(device: Device, config: Any) -> TrainedAttention | None:
    """Take what computes this model's heads here; None, with a line in the log, where a GPU has
    nothing that does."""
    if device.device.type == "cpu":
        return ByLength
    fault = kernel_fault(device, config)
    if fault is None:
        return one_kernel
    log.warning(
        "attention without padding %s on this GPU, so ads are padded and training is slower",
        fault,
    )
    return None


def kernel_fault(device: Device, config: Any) -> str | None:
    """Say what is wrong with the kernel for a model's heads, by a small trial; None: nothing."""
    num_heads = config.num_attention_heads
    heads = num_heads, config.hidden_size // num_heads
    for cls_alone in (False, True):
        trial = _Trial(device, heads, cls_alone)
        try:
            found = trial.run(one_kernel)
            dropped = trial.run(one_kernel, TRIAL_DROPOUT)
        except (RuntimeError, TypeError, ValueError) as error:
            return f"does not run ({' '.join(str(error).split())[:200]})"
        for ours, plain in zip(found, trial.run(ByLength), strict=True):
            difference = float((ours - plain).norm() / plain.norm())
            if not difference <= TRIAL_TOLERANCES[device.dtype]:  # NaN is not
                return f"differs by {difference:.2g} of its numbers"
        if torch.equal(dropped[0], found[0]):
            return "drops nothing out"
    return None


@dataclass(frozen=True)
class _Trial:
    """Ads of unlike lengths, and heads (A, D)."""

    device: Device
    heads: tuple[int, int]
    cls_alone: bool

    def run(self, make: TrainedAttention, dropout_p: float = 0.0) -> list[torch.Tensor]:
        """Return the context, and the gradients of queries, keys and values, in fp32."""
        lengths = np.array(TRIAL_LENGTHS)
        noise = torch.Generator().manual_seed(0)
        # side by side, as a layer has them
        rows = torch.randn(int(lengths.sum()), 4, *self.heads, generator=noise)
        query_QAD, key_TAD, value_TAD, weights_QAD = rows.to(
            self.device.device, self.device.dtype
        ).unbind(1)
        lengths_N = torch.from_numpy(lengths).to(self.device.device)
        if self.cls_alone:
            cls_N = lengths_N.cumsum(0) - lengths_N
            query_QAD, weights_QAD = query_QAD[cls_N], weights_QAD[cls_N]
        parts = query_QAD, key_TAD, value_TAD
        inputs = [part.detach().requires_grad_() for part in parts]
        attend = make(lengths, lengths_N, dropout_p)
        context_QAD = attend(*inputs, cls_alone=self.cls_alone)
        (context_QAD * weights_QAD).sum().backward()
        outputs = [context_QAD.detach(), *(tensor.grad for tensor in inputs)]
        return [output.float() for output in outputs if output is not None]

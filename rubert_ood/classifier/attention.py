"""Attention inside each ad of a packed batch: one kernel on a GPU, length by length elsewhere.

Shapes: T tokens, N ads; Q queries, T or N (CLS alone); A heads of D dimensions.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn.functional import pad, scaled_dot_product_attention

efficient_attention = torch.ops.aten._efficient_attention_forward

HEAD_MULTIPLE = 8
"""What the kernels want D to be divisible by."""
SHORT_TOKENS = 64
"""Up to this length the tiles of FlashAttention, of 128 queries, are empty for the most part."""
TRIAL_LENGTHS = (1, 7, 130)
TRIAL_TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.03}
"""Of numbers about 1."""


class Attention(Protocol):
    """The context of each query: softmax(q k' / sqrt(D)) v over the tokens of its own ad."""

    def __call__(
        self,
        query_QAD: torch.Tensor,
        key_TAD: torch.Tensor,
        value_TAD: torch.Tensor,
        *,
        cls_alone: bool,
    ) -> torch.Tensor:
        """Return (Q, A, D); queries are all tokens, or the first of each ad (`cls_alone`)."""


class AttentionOfBatch(Protocol):
    """Makes the attention of a batch of its lengths, here and on the device: int64 (N,) each."""

    def __call__(
        self,
        lengths: np.ndarray,
        lengths_N: torch.Tensor,
        /,
    ) -> Attention:
        """Equal lengths lie side by side."""


class ByLength:
    """Plain attention, once for each length: no mask, any numbers on any device, gradients."""

    def __init__(
        self, lengths: np.ndarray, _lengths_N: torch.Tensor, dropout_p: float = 0.0
    ) -> None:
        """Equal lengths lie side by side; dropout_p of the attention weights become zero."""
        first_N = np.flatnonzero(np.diff(lengths, prepend=-1))
        num_ads = np.diff(first_N, append=len(lengths))
        self.num_ads = num_ads.tolist()
        self.num_tokens = (num_ads * lengths[first_N]).tolist()
        self.dropout_p = dropout_p

    def __call__(
        self,
        query_QAD: torch.Tensor,
        key_TAD: torch.Tensor,
        value_TAD: torch.Tensor,
        *,
        cls_alone: bool,
    ) -> torch.Tensor:
        """Return (Q, A, D)."""
        num_queries = self.num_ads if cls_alone else self.num_tokens
        groups = zip(
            self.num_ads,
            query_QAD.split(num_queries),
            key_TAD.split(self.num_tokens),
            value_TAD.split(self.num_tokens),
            strict=True,
        )
        context = []
        for num_ads, query_qAD, key_tAD, value_tAD in groups:
            context_nALD = scaled_dot_product_attention(
                _by_head(query_qAD, num_ads),
                _by_head(key_tAD, num_ads),
                _by_head(value_tAD, num_ads),
                dropout_p=self.dropout_p,
            )
            context.append(context_nALD.transpose(1, 2).flatten(0, 1))
        return torch.cat(context)


def _by_head(rows_RAD: torch.Tensor, num_ads: int) -> torch.Tensor:
    """View the rows of ads of one length as (n, A, L, D)."""
    return rows_RAD.unflatten(0, (num_ads, -1)).transpose(1, 2)


@dataclass(frozen=True)
class Limits:
    """Where each ad of a packed batch begins and ends."""

    query_ends: torch.Tensor
    """After a zero: int32 (N + 1,); so are key_ends."""
    key_ends: torch.Tensor
    most_queries: int
    most_keys: int


class Kernel(Protocol):
    """Attention over all ads at once; softmax in fp32 inside the kernel."""

    def __call__(
        self,
        *rows: torch.Tensor,
        limits: Limits,
        scale: float,
    ) -> torch.Tensor:
        """Return (Q, A, D) for query, key and value of as many numbers a head."""


def varlen_attn(*arguments: Any, **options: Any) -> torch.Tensor:
    """Run torch's kernel over ads of any lengths, which lies on no CPU. Its import brings torch's
    compiler, 1.5 s of a core, and fails where torch was built without it."""
    if arguments[0].device.type == "cpu":
        raise NotImplementedError("this kernel needs a GPU")
    from torch.nn.attention import varlen

    return varlen.varlen_attn(*arguments, **options)


def flash(*rows: torch.Tensor, limits: Limits, scale: float) -> torch.Tensor:
    """FlashAttention; it wants bf16 or fp16, a GPU since Ampere, and D of at most 256."""
    ends = limits.query_ends, limits.key_ends
    # torch 2.10 does not know the argument
    scaled = {} if scale == rows[0].shape[2] ** -0.5 else {"scale": scale}
    return varlen_attn(*rows, *ends, limits.most_queries, limits.most_keys, **scaled)


def small_tiles(
    *rows: torch.Tensor, limits: Limits, scale: float, dropout_p: float = 0.0
) -> torch.Tensor:
    """The memory-efficient kernel of scaled_dot_product_attention (Rabe and Staats, 2021), which
    takes packed ads: tiles of 64 queries, any numbers; it has gradients and dropout."""
    found = efficient_attention(
        *[part_RAD[None] for part_RAD in rows],
        None,
        limits.query_ends,
        limits.key_ends,
        limits.most_queries,
        limits.most_keys,
        dropout_p=dropout_p,
        custom_mask_type=0,
        compute_log_sumexp=torch.is_grad_enabled(),
        scale=scale,
    )
    return found[0].squeeze(0)


class Packed:
    """One kernel for all ads of a batch."""

    def __init__(
        self, kernels: tuple[Kernel, ...], lengths: np.ndarray, lengths_N: torch.Tensor
    ) -> None:
        """The first kernel is for short ads, the last one for long ones."""
        longest = int(lengths.max())
        self.kernel = kernels[0] if longest <= SHORT_TOKENS else kernels[-1]
        ends = pad(lengths_N.cumsum(0), (1, 0)).int()
        cls_ends = torch.arange(len(lengths) + 1, device=lengths_N.device).int()
        self.limits = Limits(ends, ends, longest, longest)
        self.cls_limits = Limits(cls_ends, ends, 1, longest)

    def __call__(
        self,
        query_QAD: torch.Tensor,
        key_TAD: torch.Tensor,
        value_TAD: torch.Tensor,
        *,
        cls_alone: bool,
    ) -> torch.Tensor:
        """Return (Q, A, D)."""
        size = query_QAD.shape[2]
        rows = [query_QAD, key_TAD, value_TAD]
        if size % HEAD_MULTIPLE:  # zeros add nothing to a product
            rows = [pad(part_RAD, (0, -size % HEAD_MULTIPLE)) for part_RAD in rows]
        limits = self.cls_limits if cls_alone else self.limits
        return self.kernel(*rows, limits=limits, scale=size**-0.5)[..., :size]


KERNELS: tuple[Kernel, ...] = (small_tiles, flash)


def choose_attention(
    device: torch.device, dtype: torch.dtype, config: Any
) -> AttentionOfBatch:
    """Take the kernels of which a small trial shows that they compute this model's heads."""
    heads = config.num_attention_heads
    shape = heads, config.hidden_size // heads
    found = tuple(kernel for kernel in KERNELS if can_use(kernel, device, dtype, shape))
    return partial(Packed, found) if found else ByLength


@torch.inference_mode()
def can_use(
    kernel: Kernel, device: torch.device, dtype: torch.dtype, heads: tuple[int, int]
) -> bool:
    """Try a kernel on ads of unlike lengths with heads (A, D)."""
    lengths = np.array(TRIAL_LENGTHS)
    lengths_N = torch.from_numpy(lengths).to(device)
    noise = torch.Generator().manual_seed(0)
    rows = torch.randn(3, lengths.sum(), *heads, generator=noise)
    query_TAD, key_TAD, value_TAD = rows.to(device, dtype)
    cls_N = lengths_N.cumsum(0) - lengths_N
    packed, plain = Packed((kernel,), lengths, lengths_N), ByLength(lengths, lengths_N)
    for queries, cls_alone in ((query_TAD, False), (query_TAD[cls_N], True)):
        inputs = queries, key_TAD, value_TAD
        try:
            found = packed(*inputs, cls_alone=cls_alone)
        except (ImportError, RuntimeError, TypeError, ValueError):
            return False
        expected = plain(*inputs, cls_alone=cls_alone)
        atol = TRIAL_TOLERANCES[dtype]
        if not torch.allclose(found.float(), expected.float(), atol=atol):
            return False
    return True

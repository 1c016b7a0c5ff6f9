"""Attention inside each ad of a packed batch: one kernel on a GPU, length by length elsewhere.

Shapes: T tokens, N ads; Q queries, T or N (CLS alone); A heads of D dimensions.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn.functional import pad, scaled_dot_product_attention

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch was built without it
    varlen_attn = None

HEAD_MULTIPLE = 8
"""What the kernel wants D to be divisible by."""
TRIAL_LENGTHS = (1, 7, 130)
TRIAL_TOLERANCE = 0.03
"""Of numbers about 1: some steps of bf16."""


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

    def __call__(self, lengths: np.ndarray, lengths_N: torch.Tensor, /) -> Attention:
        """Equal lengths lie side by side."""


@dataclass(frozen=True)
class Group:
    """Ads of one length that lie side by side."""

    ads: slice
    tokens: slice
    num_ads: int


class ByLength:
    """Plain attention, once for each length: no mask, and any numbers on any device."""

    def __init__(self, lengths: np.ndarray, _lengths_N: torch.Tensor) -> None:
        """Equal lengths lie side by side."""
        self.groups = []
        ad = token = 0
        first_N = np.flatnonzero(np.diff(lengths, prepend=-1))
        for first, end in zip(first_N, [*first_N[1:], len(lengths)], strict=True):
            num_ads = int(end - first)
            next_token = token + num_ads * int(lengths[first])
            ads, tokens = slice(ad, ad + num_ads), slice(token, next_token)
            self.groups.append(Group(ads, tokens, num_ads))
            ad, token = ad + num_ads, next_token

    def __call__(
        self,
        query_QAD: torch.Tensor,
        key_TAD: torch.Tensor,
        value_TAD: torch.Tensor,
        *,
        cls_alone: bool,
    ) -> torch.Tensor:
        """Return (Q, A, D)."""
        context_QAD = torch.empty_like(query_QAD)
        for group in self.groups:
            rows = group.ads if cls_alone else group.tokens
            context_nALD = scaled_dot_product_attention(
                _by_head(query_QAD[rows], group),
                _by_head(key_TAD[group.tokens], group),
                _by_head(value_TAD[group.tokens], group),
            )
            context_QAD[rows] = context_nALD.transpose(1, 2).flatten(0, 1)
        return context_QAD


def _by_head(rows_RAD: torch.Tensor, group: Group) -> torch.Tensor:
    """View the rows of a group as (n, A, L, D)."""
    return rows_RAD.view(group.num_ads, -1, *rows_RAD.shape[1:]).transpose(1, 2)


class Varlen:
    """FlashAttention over all ads at once; softmax in fp32 inside the kernel."""

    def __init__(self, lengths: np.ndarray, lengths_N: torch.Tensor) -> None:
        self.longest = int(lengths.max())
        self.ends = pad(lengths_N.cumsum(0), (1, 0)).int()
        """Where each ad ends, after a zero: int32 (N + 1,)."""
        self.cls_ends = torch.arange(len(lengths) + 1, device=lengths_N.device).int()
        """The same for queries of one row an ad."""

    def __call__(
        self,
        query_QAD: torch.Tensor,
        key_TAD: torch.Tensor,
        value_TAD: torch.Tensor,
        *,
        cls_alone: bool,
    ) -> torch.Tensor:
        """Return (Q, A, D)."""
        ends, longest = self.ends, self.longest
        if cls_alone:
            ends, longest = self.cls_ends, 1
        size = query_QAD.shape[2]
        rows = [query_QAD, key_TAD, value_TAD]
        limits = ends, self.ends, longest, self.longest
        if size % HEAD_MULTIPLE == 0:
            return varlen_attn(*rows, *limits)
        filled = 0, -size % HEAD_MULTIPLE  # zeros add nothing to a product
        rows = [pad(part_RAD, filled) for part_RAD in rows]
        return varlen_attn(*rows, *limits, scale=size**-0.5)[..., :size]


def choose_attention(
    device: torch.device, dtype: torch.dtype, config: Any
) -> AttentionOfBatch:
    """Take the varlen kernel where a small trial shows that it computes this model's heads."""
    heads = config.num_attention_heads
    shape = heads, config.hidden_size // heads
    return Varlen if _can_use_varlen(device, dtype, shape) else ByLength


@torch.inference_mode()
def _can_use_varlen(
    device: torch.device, dtype: torch.dtype, heads: tuple[int, int]
) -> bool:
    """Try it; it wants bf16 or fp16, a GPU since Ampere, and D of at most 256."""
    lengths = np.array(TRIAL_LENGTHS)
    lengths_N = torch.from_numpy(lengths).to(device)
    noise = torch.Generator().manual_seed(0)
    rows = torch.randn(3, lengths.sum(), *heads, generator=noise)
    query_TAD, key_TAD, value_TAD = rows.to(device, dtype)
    cls_N = lengths_N.cumsum(0) - lengths_N
    varlen, plain = Varlen(lengths, lengths_N), ByLength(lengths, lengths_N)
    for queries, cls_alone in ((query_TAD, False), (query_TAD[cls_N], True)):
        inputs = queries, key_TAD, value_TAD
        try:
            found = varlen(*inputs, cls_alone=cls_alone)
        except (RuntimeError, TypeError, ValueError):
            return False
        expected = plain(*inputs, cls_alone=cls_alone)
        if not torch.allclose(found.float(), expected.float(), atol=TRIAL_TOLERANCE):
            return False
    return True

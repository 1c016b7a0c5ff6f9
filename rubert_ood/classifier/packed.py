"""BERT without waste: no padding, the last layer for CLS alone; the numbers of transformers.

The ads of a batch lie one after another in one matrix, ads of equal length side by side. Every
linear layer is one GEMM over real tokens; attention runs once per length. Modules and weights are
those of the loaded network.

Shapes: T tokens, N ads; n ads of one length L; A heads of D dimensions; H hidden.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import BertForSequenceClassification


@dataclass(frozen=True)
class Group:
    """Ads of one length that lie side by side."""

    ads: slice
    tokens: slice
    num_ads: int


def can_pack(network: Any) -> bool:
    """Say whether `forward` knows this architecture; other encoders take their own forward pass."""
    return (
        type(network) is BertForSequenceClassification and not network.config.is_decoder
    )


def forward(
    network: Any, ids_T: torch.Tensor, lengths_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (N, C) and CLS (N, H) of the last layer, before the pooler.

    ids_T: token ids of the ads, int64, without padding; lengths_N: int64, equal lengths side by
    side.
    """
    bert = network.bert
    starts_N = lengths_N.cumsum(0) - lengths_N
    positions_T = torch.arange(len(ids_T)) - starts_N.repeat_interleave(lengths_N)
    hidden_TH = bert.embeddings(input_ids=ids_T[None], position_ids=positions_T[None])[0]
    groups = _groups(lengths_N)
    *layers, last = bert.encoder.layer
    for layer in layers:
        hidden_TH = _layer(
            layer, hidden_TH, hidden_TH, [(group.tokens, group) for group in groups]
        )
    cls_NH = _layer(
        last, hidden_TH[starts_N], hidden_TH, [(group.ads, group) for group in groups]
    )
    return network.classifier(bert.pooler(cls_NH[:, None])), cls_NH


def _groups(lengths_N: torch.Tensor) -> list[Group]:
    groups, ad, token = [], 0, 0
    lengths, counts = torch.unique_consecutive(lengths_N, return_counts=True)
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        groups.append(
            Group(slice(ad, ad + count), slice(token, token + count * length), count)
        )
        ad, token = ad + count, token + count * length
    return groups


def _layer(
    layer: Any,
    queries_QH: torch.Tensor,
    hidden_TH: torch.Tensor,
    groups: list[tuple[slice, Group]],
) -> torch.Tensor:
    """Run a layer for the chosen rows, all tokens or CLS alone, over all keys and values.

    groups: which rows of queries_QH belong to a group, and the group.
    """
    attention = layer.attention.self
    query_QH, key_TH, value_TH = (
        attention.query(queries_QH),
        attention.key(hidden_TH),
        attention.value(hidden_TH),
    )
    context_QH = torch.empty_like(query_QH)
    for rows, group in groups:
        heads = (
            group.num_ads,
            -1,
            attention.num_attention_heads,
            attention.attention_head_size,
        )
        query = query_QH[rows].view(heads).transpose(1, 2)
        key = key_TH[group.tokens].view(heads).transpose(1, 2)
        value = value_TH[group.tokens].view(heads).transpose(1, 2)
        context_nALD = scaled_dot_product_attention(query, key, value)
        context_QH[rows] = context_nALD.transpose(1, 2).reshape(-1, context_QH.shape[1])
    return layer.feed_forward_chunk(layer.attention.output(context_QH, queries_QH))

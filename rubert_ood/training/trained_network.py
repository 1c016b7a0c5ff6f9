"""A network as training runs it: ids and their extent in, logits out.

On CPU a BERT takes its ads one after another, without padding, and computes queries and
feed-forward of its last layer for CLS alone. The gradients are those of the padded network; the
layout is that of `classifier/packed.py`, with dropout. On GPU, and for other encoders, batches are
padded: the attention kernels without padding have no dropout.

Shapes: T tokens, N ads; n ads of one length L; Q rows of queries; A heads of D dimensions;
C classes; H hidden.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from rubert_ood.classifier import onednn
from rubert_ood.classifier.packed import can_pack
from rubert_ood.training.products import use_onednn


def trained_network(
    network: Any, device: torch.device
) -> "PackedNetwork | PaddedNetwork":
    """Wrap a network for training; its parameters stay where they are."""
    if device.type != "cpu" or not can_pack(network):
        return PaddedNetwork(network)
    if onednn.can_use():
        use_onednn(network.bert.encoder)
    return PackedNetwork(network)


class PaddedNetwork(torch.nn.Module):
    """The network by its own forward pass."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_NL: torch.Tensor, mask_NL: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C) of ids that are filled up; the mask is 1 where a token is."""
        return self.network(input_ids=ids_NL, attention_mask=mask_NL).logits


class PackedNetwork(torch.nn.Module):
    """A BERT without padding."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_T: torch.Tensor, lengths_N: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C); equal lengths lie side by side."""
        bert = self.network.bert
        starts_N = lengths_N.cumsum(0) - lengths_N
        positions_T = torch.arange(len(ids_T)) - starts_N.repeat_interleave(lengths_N)
        hidden_TH = bert.embeddings(ids_T[None], position_ids=positions_T[None])[0]
        groups = groups_of(lengths_N)
        *layers, last = bert.encoder.layer
        for layer in layers:
            hidden_TH = _layer(layer, hidden_TH, hidden_TH, groups)
        cls_NH = _layer(last, hidden_TH[starts_N], hidden_TH, groups)
        pooled_NH = self.network.dropout(bert.pooler(cls_NH[:, None]))
        return self.network.classifier(pooled_NH)


@dataclass(frozen=True)
class Groups:
    """Ads of one length each, side by side."""

    num_ads: list[int]
    num_tokens: list[int]


def groups_of(lengths_N: torch.Tensor) -> Groups:
    """Find the runs of equal lengths."""
    lengths, counts = torch.unique_consecutive(lengths_N, return_counts=True)
    return Groups(counts.tolist(), (lengths * counts).tolist())


def _layer(
    layer: Any, queries_QH: torch.Tensor, hidden_TH: torch.Tensor, groups: Groups
) -> torch.Tensor:
    """Run a layer for all tokens, or for CLS alone, over all keys and values."""
    context_QH = attend(layer, queries_QH, hidden_TH, groups)
    return layer.feed_forward_chunk(layer.attention.output(context_QH, queries_QH))


def attend(
    layer: Any, queries_QH: torch.Tensor, hidden_TH: torch.Tensor, groups: Groups
) -> torch.Tensor:
    """Let all tokens, or CLS alone, attend to the tokens of their own ad: context (Q, H)."""
    attention = layer.attention.self
    sizes_Q = groups.num_tokens if queries_QH is hidden_TH else groups.num_ads
    queries = attention.query(queries_QH).split(sizes_Q)
    keys = attention.key(hidden_TH).split(groups.num_tokens)
    values = attention.value(hidden_TH).split(groups.num_tokens)
    heads = (attention.num_attention_heads, attention.attention_head_size)
    dropout = attention.dropout.p if attention.training else 0.0
    context = []
    for query, key, value, num_ads in zip(
        queries, keys, values, groups.num_ads, strict=True
    ):
        context_nALD = scaled_dot_product_attention(
            query.view(num_ads, -1, *heads).transpose(1, 2),
            key.view(num_ads, -1, *heads).transpose(1, 2),
            value.view(num_ads, -1, *heads).transpose(1, 2),
            dropout_p=dropout,
        )
        context.append(context_nALD.transpose(1, 2).reshape(len(query), -1))
    return torch.cat(context)

"""BERT without waste: no padding, the last layer for CLS alone; the numbers of transformers.

The ads of a batch lie one after another in one matrix, ads of equal length side by side. Every
linear layer is one GEMM over real tokens; attention stays inside each ad (attention.py). Modules
and weights are those of the loaded network, on CPU and GPU; training takes the same way.

Shapes: T tokens, N ads; Q rows, T or N; A heads of D dimensions; H hidden.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn.functional import embedding_bag, layer_norm

from rubert_ood.classifier.attention import Attention


@dataclass(frozen=True)
class PackedBatch:
    """Ads one after another, equal lengths side by side, on the device of the network."""

    ids_T: torch.Tensor
    """int64, special tokens included."""
    lengths_N: torch.Tensor
    """int64."""
    attend: Attention

    @cached_property
    def starts_N(self) -> torch.Tensor:
        """Where each ad begins, int64."""
        return self.lengths_N.cumsum(0) - self.lengths_N


def can_pack(network: Any) -> bool:
    """Say whether `forward` knows this architecture; other encoders take their own forward pass.

    By the name of the class: its import, that of transformers, takes seconds.
    """
    name = type(network).__name__
    return name == "BertForSequenceClassification" and not network.config.is_decoder


class NormInFp32(torch.nn.Module):
    """A layer norm whose weights, sums and answer are fp32, whatever comes in."""

    def __init__(self, norm: torch.nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return fp32 rows (N, H)."""
        norm = self.norm
        rows = rows.float()
        return layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def store_in_bf16(network: Any) -> None:
    """Hold the layers of a BERT's encoder in bf16, in place, so that no batch casts them.

    Sums inside products, norms and softmax are fp32 in torch's kernels all the same; those of norms
    want their weights in the numbers of their input on a GPU. Fp32 remain what costs nothing: the
    embeddings, the norm that makes the CLS vector, the pooler and the head.
    """
    encoder = network.bert.encoder
    last = encoder.layer[-1].output
    norm, last.LayerNorm = last.LayerNorm, torch.nn.Identity()
    encoder.to(torch.bfloat16)
    last.LayerNorm = NormInFp32(norm)


def forward(
    network: Any, batch: PackedBatch, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return fp32 logits (N, C), CLS (N, H) of the last layer, before the pooler, and the mean
    (N, H) of all tokens that enter that layer.

    dtype: that of the encoder's layers.
    """
    bert = network.bert
    hidden_TH = embed(bert, batch).to(dtype)
    cls_NH, hidden_TH = run_layers(bert.encoder.layer, hidden_TH, batch)
    return classify(network, cls_NH), cls_NH, mean_of_each(hidden_TH, batch.starts_N)


def run_layers(
    layers: Iterable[Any], hidden_TH: torch.Tensor, batch: PackedBatch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return CLS (N, H) of the last layer, and the rows (T, H) that enter it."""
    *before, last = layers
    for layer in before:
        hidden_TH = run_layer(layer, hidden_TH, hidden_TH, batch.attend)
    first_NH = hidden_TH[batch.starts_N]
    return run_layer(last, first_NH, hidden_TH, batch.attend, cls_alone=True), hidden_TH


def classify(network: Any, cls_NH: torch.Tensor) -> torch.Tensor:
    """Return logits (N, C) by pooler and head."""
    pooled_NH = network.dropout(network.bert.pooler(cls_NH[:, None]))
    return network.classifier(pooled_NH)


def mean_of_each(hidden_TH: torch.Tensor, starts_N: torch.Tensor) -> torch.Tensor:
    """Return the mean of the rows of each ad, fp32 (N, H)."""
    places_T = torch.arange(len(hidden_TH), device=hidden_TH.device)
    return embedding_bag(places_T, hidden_TH.float(), starts_N, mode="mean")


def embed(bert: Any, batch: PackedBatch) -> torch.Tensor:
    """Return the embedding of each token at its place in its ad: (T, H)."""
    ids_T = batch.ids_T
    num_tokens = len(ids_T)  # given, so that a GPU is not waited for
    starts_T = batch.starts_N.repeat_interleave(batch.lengths_N, output_size=num_tokens)
    positions_T = torch.arange(num_tokens, device=ids_T.device) - starts_T
    return bert.embeddings(input_ids=ids_T[None], position_ids=positions_T[None])[0]


def run_layer(
    layer: Any,
    queries_QH: torch.Tensor,
    hidden_TH: torch.Tensor,
    attend: Attention,
    *,
    cls_alone: bool = False,
) -> torch.Tensor:
    """Run a layer for the chosen rows, all tokens or CLS alone, over all keys and values."""
    context_QH = context(layer, queries_QH, hidden_TH, attend, cls_alone=cls_alone)
    return layer.feed_forward_chunk(layer.attention.output(context_QH, queries_QH))


def context(
    layer: Any,
    queries_QH: torch.Tensor,
    hidden_TH: torch.Tensor,
    attend: Attention,
    *,
    cls_alone: bool = False,
) -> torch.Tensor:
    """Let the chosen rows attend to the tokens of their own ad: (Q, H)."""
    attention = layer.attention.self
    heads = -1, attention.num_attention_heads, attention.attention_head_size
    together = getattr(attention, "query_key_value", None)
    if together is not None:  # of a layer whose queries are all tokens
        rows = together(hidden_TH).chunk(3, dim=1)
    else:
        keys_TH, values_TH = attention.key(hidden_TH), attention.value(hidden_TH)
        rows = attention.query(queries_QH), keys_TH, values_TH
    query_QAD, key_TAD, value_TAD = [part.view(heads) for part in rows]
    context_QAD = attend(query_QAD, key_TAD, value_TAD, cls_alone=cls_alone)
    return context_QAD.flatten(1)

"""A network as training runs it: ids and their extent in, logits out.

A BERT takes the way of scoring, with dropout: its ads one after another, without padding, queries
and feed-forward of its last layer for CLS alone (classifier/packed.py). The gradients are those of
the padded network. Other encoders are padded, and so is a BERT on a GPU whose attention kernel
fails its trial.

Shapes: T tokens, N ads, L tokens of the longest; C classes; H hidden.
"""

from typing import Any

import numpy as np
import torch

from rubert_ood.classifier import packed
from rubert_ood.classifier.packed import PackedBatch
from rubert_ood.classifier.precision import Device
from rubert_ood.training.products import use_onednn
from rubert_ood.training.trained_attention import (
    TrainedAttention,
    choose_trained_attention,
)
from rubert_ood.training.trained_layers import LayersInBf16, LayersInFp32


def trained_network(network: Any, device: Device) -> "PackedNetwork | PaddedNetwork":
    """Wrap a network that is on its device for training; its parameters stay where they are."""
    if packed.can_pack(network):
        attention = choose_trained_attention(device, network.config)
        if attention is not None:
            return PackedNetwork(network, PackedEncoder(network.bert, attention, device))
    return PaddedNetwork(network, device)


class PaddedNetwork(torch.nn.Module):
    """The network by its own forward pass."""

    def __init__(self, network: Any, device: Device) -> None:
        super().__init__()
        self.network = network
        self.device = device

    def forward(self, ids_NL: torch.Tensor, mask_NL: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C) of ids that are filled up; the mask is 1 where a token is."""
        with self.device.context():
            return self.network(input_ids=ids_NL, attention_mask=mask_NL).logits


class PackedNetwork(torch.nn.Module):
    """A BERT without padding."""

    def __init__(self, network: Any, encoder: "PackedEncoder") -> None:
        super().__init__()
        self.network = network
        self.encoder = encoder

    def forward(
        self, ids_T: torch.Tensor, lengths_N: torch.Tensor, lengths: np.ndarray
    ) -> torch.Tensor:
        """Return logits (N, C); the lengths here and on the device, equal ones side by side."""
        batch = self.encoder.batch(ids_T, lengths_N, lengths)
        hidden_TH = self.encoder.embed(batch)
        cls_NH, _ = packed.run_layers(self.encoder.layers(), hidden_TH, batch)
        return packed.classify(self.network, cls_NH)


class PackedEncoder(torch.nn.Module):
    """The encoder of a BERT, of whose passes training makes its networks."""

    def __init__(self, bert: Any, attention: TrainedAttention, device: Device) -> None:
        super().__init__()
        self.bert = bert
        self.dtype = device.dtype
        self._attention = attention
        layers = bert.encoder.layer
        if device.has_onednn():
            use_onednn(bert.encoder)
        is_fp32 = device.dtype == torch.float32
        self.layers = LayersInFp32(layers) if is_fp32 else LayersInBf16(layers)

    def batch(
        self, ids_T: torch.Tensor, lengths_N: torch.Tensor, lengths: np.ndarray
    ) -> PackedBatch:
        """Return a batch with attention inside each ad, with dropout in training."""
        dropout = self.bert.encoder.layer[0].attention.self.dropout
        dropout_p = dropout.p if self.training else 0.0
        return PackedBatch(
            ids_T, lengths_N, self._attention(lengths, lengths_N, dropout_p)
        )

    def embed(self, batch: PackedBatch) -> torch.Tensor:
        """Return the rows (T, H) that enter the first layer."""
        return packed.embed(self.bert, batch).to(self.dtype)

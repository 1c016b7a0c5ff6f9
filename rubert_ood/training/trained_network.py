"""A network as training runs it: ids and their extent in, logits out.

On CPU a BERT takes the way of scoring, with dropout: its ads one after another, without padding,
queries and feed-forward of its last layer for CLS alone (classifier/packed.py). The gradients are
those of the padded network. On GPU, and for other encoders, batches are padded: the attention
kernels without padding have no dropout.

Shapes: T tokens, N ads; C classes.
"""

from typing import Any

import torch

from rubert_ood.classifier import onednn, packed
from rubert_ood.classifier.attention import ByLength
from rubert_ood.training.products import use_onednn


def trained_network(
    network: Any, device: torch.device
) -> "PackedNetwork | PaddedNetwork":
    """Wrap a network for training; its parameters stay where they are."""
    if device.type != "cpu" or not packed.can_pack(network):
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
        attend = attention_with_dropout(self.network.bert, lengths_N)
        batch = packed.PackedBatch(ids_T, lengths_N, attend)
        logits_NC, *_ = packed.forward(self.network, batch)
        return logits_NC


def attention_with_dropout(bert: Any, lengths_N: torch.Tensor) -> ByLength:
    """Return attention inside each ad, with the dropout of the network's layers in training."""
    dropout = bert.encoder.layer[0].attention.self.dropout
    dropout_p = dropout.p if dropout.training else 0.0
    return ByLength(lengths_N.numpy(), lengths_N, dropout_p)

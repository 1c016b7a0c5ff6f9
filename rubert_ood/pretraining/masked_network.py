"""A BERT as pretraining runs it: ids with hidden words in, logits of the hidden tokens out.

The last layer after its attention, and the output over the vocabulary, are computed for the hidden
tokens alone: a sixth of all. The ads lie one after another, without padding, and attention stays
inside each (classifier/packed.py); on a GPU whose attention kernel fails its trial they are padded.

Shapes: T tokens, N ads, L tokens of the longest; M hidden tokens; H hidden size; V vocabulary.
"""

from typing import Any

import numpy as np
import torch

from rubert_ood.classifier import packed
from rubert_ood.classifier.precision import Device
from rubert_ood.training.products import use_onednn
from rubert_ood.training.trained_attention import choose_trained_attention
from rubert_ood.training.trained_network import PackedEncoder


def masked_network(
    network: Any, device: Device
) -> "PackedMaskedNetwork | PaddedMaskedNetwork":
    """Wrap a BertForPreTraining for training; its parameters stay where they are.

    Those that guessing words does not use are left as they are.
    """
    for unused in (network.bert.pooler, network.cls.seq_relationship):
        unused.requires_grad_(False)
    attention = choose_trained_attention(device, network.config)
    if attention is None:
        return PaddedMaskedNetwork(network, device)
    if device.has_onednn():
        use_onednn(network.cls)
    encoder = PackedEncoder(network.bert, attention, device)
    return PackedMaskedNetwork(network, encoder, device)


class PaddedMaskedNetwork(torch.nn.Module):
    """The network by its own forward pass."""

    def __init__(self, network: Any, device: Device) -> None:
        super().__init__()
        self.network = network
        self.device = device

    def forward(
        self,
        ids_NL: torch.Tensor,
        mask_NL: torch.Tensor,
        places_M: torch.Tensor,
    ) -> torch.Tensor:
        """Return logits (M, V); places count through the rows of the matrix."""
        with self.device.context():
            output = self.network.bert(
                input_ids=ids_NL,
                attention_mask=mask_NL,
            )
            hidden_TH = output.last_hidden_state.flatten(0, 1)
            hidden_MH = hidden_TH[places_M]
            return self.network.cls.predictions(hidden_MH)


class PackedMaskedNetwork(torch.nn.Module):
    """The network without padding."""

    def __init__(self, network: Any, encoder: PackedEncoder, device: Device) -> None:
        super().__init__()
        self.network = network
        self.encoder = encoder
        self.device = device

    def forward(
        self,
        ids_T: torch.Tensor,
        lengths_N: torch.Tensor,
        places_M: torch.Tensor,
        lengths: np.ndarray,
    ) -> torch.Tensor:
        """Return logits (M, V); the lengths here and on the device, equal ones side by side."""
        batch = self.encoder.batch(ids_T, lengths_N, lengths)
        hidden_TH = self.encoder.embed(batch)
        *layers, last = self.encoder.layers()
        for layer in layers:
            hidden_TH = packed.run_layer(layer, hidden_TH, hidden_TH, batch.attend)
        context_TH = packed.context(last, hidden_TH, hidden_TH, batch.attend)
        mixed_MH = last.attention.output(
            context_TH[places_M],
            hidden_TH[places_M],
        )
        hidden_MH = last.feed_forward_chunk(mixed_MH)
        with self.device.context():
            return self.network.cls.predictions(hidden_MH)

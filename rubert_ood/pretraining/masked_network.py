"""A BERT as pretraining runs it: ids with hidden words in, logits of the hidden tokens out.

The last layer after its attention, and the output over the vocabulary, are computed for the hidden
tokens alone: a sixth of all. On CPU the ads lie one after another, without padding, and attention
stays inside each (classifier/packed.py); on a GPU they are padded, as in fine-tuning.

Shapes: T tokens, N ads, L tokens of the longest; M hidden tokens; H hidden size; V vocabulary.
"""

from typing import Any

import torch

from rubert_ood.classifier import onednn, packed
from rubert_ood.training.products import use_onednn
from rubert_ood.training.trained_network import attention_with_dropout


def masked_network(
    network: Any, device: torch.device
) -> "PackedMaskedNetwork | PaddedMaskedNetwork":
    """Wrap a BertForPreTraining for training; its parameters stay where they are.

    Those that guessing words does not use are left as they are.
    """
    for unused in (network.bert.pooler, network.cls.seq_relationship):
        unused.requires_grad_(False)
    if device.type != "cpu":
        return PaddedMaskedNetwork(network)
    if onednn.can_use():
        use_onednn(network)
    return PackedMaskedNetwork(network)


class PaddedMaskedNetwork(torch.nn.Module):
    """The network by its own forward pass."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        ids_NL: torch.Tensor,
        mask_NL: torch.Tensor,
        places_M: torch.Tensor,
    ) -> torch.Tensor:
        """Return logits (M, V); places count through the rows of the matrix."""
        output = self.network.bert(
            input_ids=ids_NL,
            attention_mask=mask_NL,
        )
        hidden_TH = output.last_hidden_state.flatten(0, 1)
        hidden_MH = hidden_TH[places_M]
        return self.network.cls.predictions(hidden_MH)


class PackedMaskedNetwork(torch.nn.Module):
    """The network without padding."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        ids_T: torch.Tensor,
        lengths_N: torch.Tensor,
        places_M: torch.Tensor,
    ) -> torch.Tensor:
        """Return logits (M, V); equal lengths lie side by side."""
        bert = self.network.bert
        hidden_TH = packed.embed(bert, ids_T, lengths_N)
        attend = attention_with_dropout(bert, lengths_N)
        *layers, last = bert.encoder.layer
        for layer in layers:
            hidden_TH = packed.run_layer(layer, hidden_TH, hidden_TH, attend)
        context_TH = packed.context(last, hidden_TH, hidden_TH, attend)
        mixed_MH = last.attention.output(
            context_TH[places_M],
            hidden_TH[places_M],
        )
        hidden_MH = last.feed_forward_chunk(mixed_MH)
        return self.network.cls.predictions(hidden_MH)

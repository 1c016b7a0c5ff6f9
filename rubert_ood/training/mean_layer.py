"""A top layer that reads the mean of an ad's tokens, for checkpoints whose CLS was never trained.

Sentence encoders such as e5 learn the mean over the tokens, and their CLS means little; scoring
reads CLS. So a layer is put on top that begins as CLS = norm(CLS + SHARE * mean over all tokens),
and is trained with the others. The network stays a plain BERT, of one layer more.
"""

import copy
from typing import Any

import torch

from rubert_ood.classifier.packed import can_pack
from rubert_ood.errors import SettingsError

SHARE = 4.0
"""Weight of the mean against CLS; both have the size that the norm below gives them."""
NOISE = 0.02
"""Deviation of weights that must not begin at zero, where nothing would be learnt."""


@torch.no_grad()
def add_mean_layer(network: Any) -> None:  # noqa: ANN401 - of transformers
    """Put such a layer on top of a BERT, in place. Raises SettingsError on another network."""
    if not can_pack(network):
        raise SettingsError(
            "optimiser.top: mean is for a plain BERT, and base_model is not one; leave it out"
        )
    layers, config = network.bert.encoder.layer, network.config
    layer = copy.deepcopy(layers[-1])
    for module in layer.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.normal_(std=NOISE)
            module.bias.zero_()
        elif isinstance(module, torch.nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
    attention = layer.attention
    attention.self.query.weight.zero_()  # all tokens weigh the same
    torch.nn.init.eye_(attention.self.value.weight)
    torch.nn.init.eye_(attention.output.dense.weight).mul_(SHARE)
    layer.output.dense.weight.zero_()
    layers.append(layer)
    config.num_hidden_layers = len(layers)

"""Layers that are not trained."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from rubert_ood.settings import OptimiserSettings
from rubert_ood.training.freezing import freeze_below
from rubert_ood.training.optimiser import make_optimiser
from rubert_ood.training.trained_network import trained_network


@pytest.fixture
def network() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=16,
        num_labels=3,
    )
    return BertForSequenceClassification(config)


def _dropouts(module: torch.nn.Module) -> set[float]:
    found = [part for part in module.modules() if isinstance(part, torch.nn.Dropout)]
    return {part.p for part in found}


def test_freeze_below_trains_the_top_layers_pooler_and_head_alone(network):
    freeze_below(network, 1)
    forward = trained_network(network, torch.device("cpu")).train()
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    optimiser = make_optimiser(network, OptimiserSettings(learning_rate=0.1))
    lengths = torch.tensor([5, 5, 3])
    logits_NC = forward(torch.randint(1, 40, (13,)), lengths)
    torch.nn.functional.cross_entropy(logits_NC, torch.tensor([0, 1, 2])).backward()
    optimiser.step()
    moved = set()
    for name, weight in network.state_dict().items():
        if not torch.equal(weight, before[name]):
            moved.add(name)
    trained = {name for name in before if "layer.2." in name}
    head = {name for name in before if "pooler" in name or "classifier" in name}
    without_gradient = {"bert.encoder.layer.2.attention.self.key.bias"}
    assert trained | head >= moved >= (trained | head) - without_gradient
    encoder = network.bert.encoder.layer
    assert _dropouts(network.bert.embeddings) == _dropouts(encoder[1]) == {0.0}
    assert _dropouts(encoder[2]) == {0.1}
    assert network.dropout.p == 0.1


def test_freeze_below_of_none_leaves_all(network):
    freeze_below(network, None)
    assert all(weight.requires_grad for weight in network.parameters())
    assert _dropouts(network) == {0.1}

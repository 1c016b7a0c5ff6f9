"""The layer that reads the mean of the tokens, against that mean by numpy."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from rubert_ood.errors import SettingsError
from rubert_ood.training.mean_layer import SHARE, add_mean_layer


@pytest.fixture
def network() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        num_labels=3,
    )
    return BertForSequenceClassification(config).eval()


def _norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-12)


def test_mean_layer_begins_with_the_mean_of_the_tokens(network, tmp_path):
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        below = network.bert(ids).last_hidden_state[0].numpy()
        add_mean_layer(network)
        cls = network.bert(ids).last_hidden_state[0, 0].numpy()
    expected = _norm(_norm(below[0] + SHARE * below.mean(0)))
    np.testing.assert_allclose(cls, expected, atol=1e-5)
    network.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert again.config.num_hidden_layers == len(again.bert.encoder.layer) == 3
    with torch.no_grad():
        np.testing.assert_allclose(
            again.eval()(ids).logits, network(ids).logits, atol=1e-6
        )


def test_mean_layer_has_a_gradient_in_every_matrix_after_a_step(network):
    add_mean_layer(network)
    ids, labels_N = torch.randint(1, 60, (4, 9)), torch.tensor([0, 1, 2, 0])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        network(ids, labels=labels_N).loss.backward()
        optimiser.step()
    for name, weight in network.bert.encoder.layer[-1].named_parameters():
        if weight.ndim > 1:
            assert float(weight.grad.abs().max()) > 0, name


def test_mean_layer_of_another_network_is_refused():
    config = DistilBertConfig(
        vocab_size=60, dim=32, n_layers=1, n_heads=4, hidden_dim=48, num_labels=3
    )
    with pytest.raises(SettingsError, match=r"^optimiser.top: mean is for a plain BERT"):
        add_mean_layer(DistilBertForSequenceClassification(config))

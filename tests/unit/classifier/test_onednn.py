import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from rubert_ood.classifier import onednn
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.onednn import EXACT_GELU, OneDnnLinear, use_onednn
from rubert_ood.classifier.tokens import tokenize

pytestmark = pytest.mark.skipif(not onednn.can_use(), reason="this torch has no oneDNN")


@pytest.mark.parametrize("shape", [(1, 32), (200, 32), (3, 7, 32), (0, 32)])
@pytest.mark.parametrize("bias", [True, False])
def test_onednn_layer_is_the_plain_product(shape, bias):
    torch.manual_seed(0)
    layer, rows = torch.nn.Linear(32, 24, bias=bias), torch.randn(shape)
    exact = rows.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0)
    with torch.inference_mode():
        np.testing.assert_allclose(OneDnnLinear(layer)(rows), exact.detach(), atol=1e-5)
        expected = 0.5 * exact * (1 + torch.erf(exact / 2**0.5))
        np.testing.assert_allclose(
            OneDnnLinear(layer, EXACT_GELU)(rows), expected.detach(), atol=1e-5
        )


@pytest.mark.parametrize("activation", ["gelu", "relu", "gelu_new"])
def test_onednn_replaces_every_layer_of_the_encoder_and_it_answers_as_before(activation):
    torch.manual_seed(1)
    shape = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 80,
    }
    config = BertConfig(
        vocab_size=200,
        num_labels=5,
        hidden_act=activation,
        initializer_range=0.3,
        **shape,
    )
    network = BertForSequenceClassification(config).eval()
    ids_NL = torch.randint(5, 200, (6, 11))
    with torch.inference_mode():
        expected = network(ids_NL, output_hidden_states=True)
        use_onednn(network)
        got = network(ids_NL, output_hidden_states=True)
    kinds = [type(module) for module in network.bert.encoder.modules()]
    assert torch.nn.Linear not in kinds
    assert kinds.count(OneDnnLinear) == 6 * 3
    for mine, theirs in zip(
        (got.logits, got.hidden_states[-1]),
        (expected.logits, expected.hidden_states[-1]),
        strict=True,
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert expected.logits.std() > 0.01


def test_onednn_that_cannot_be_used_leaves_the_layers(
    small_checkpoint, ad_texts, monkeypatch
):
    fast = Classifier.load(small_checkpoint)
    monkeypatch.setattr(onednn, "can_use", lambda _: False)
    plain = Classifier.load(small_checkpoint)
    assert not any(isinstance(module, OneDnnLinear) for module in plain.network.modules())
    assert any(isinstance(module, OneDnnLinear) for module in fast.network.modules())
    ids = tokenize(plain.tokenizer, ad_texts[:100], 64)
    for mine, theirs in zip(
        fast.run(ids, token_budget=500), plain.run(ids, token_budget=500), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("failure", [AttributeError, RuntimeError])
def test_onednn_of_a_torch_without_the_operators_is_not_used(monkeypatch, failure):
    def missing(*_):
        raise failure("no such operator")

    monkeypatch.setattr(onednn, "OneDnnLinear", missing)
    assert onednn.can_use.__wrapped__() is False


def test_onednn_operator_that_computes_something_else_is_not_used(monkeypatch):
    monkeypatch.setattr(
        onednn,
        "OneDnnLinear",
        lambda layer, activation=None: lambda rows: layer(rows) + 1e-3,
    )
    assert onednn.can_use.__wrapped__() is False

"""Fused steps beside the layers of transformers; the compiler and the kernels need a GPU."""

import logging

import pytest
import torch
from torch.nn.functional import gelu
from transformers import BertConfig, BertForSequenceClassification

from rubert_ood.classifier import fused, packed
from rubert_ood.classifier.fused import ProductThenGelu, SumThenNorm, use_fused

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]


@pytest.fixture
def eager(monkeypatch):
    """Take the function that would be compiled as it is."""
    monkeypatch.setattr(fused, "compiled", lambda: fused.sum_then_norm)


def small(device: str, **options):
    """Return a BERT whose encoder is in bf16."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = BertConfig(
        vocab_size=200, intermediate_size=80, initializer_range=0.3, **sizes, **options
    )
    network = BertForSequenceClassification(config).to(device).eval()
    packed.store_in_bf16(network)
    return network


def test_sum_then_norm_is_the_norm_of_the_sum():
    rows, before = torch.randn(2, 7, 24, dtype=torch.float64)
    weight, bias = torch.randn(2, 24, dtype=torch.float64)
    total = rows + before
    spread = (total.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = (total - total.mean(1, keepdim=True)) / spread * weight + bias
    got = fused.sum_then_norm(rows, before, weight, bias, 1e-5)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_product_then_gelu_is_a_layer_and_gelu_after_it(device):
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 40, device=device)
    rows = torch.randn(1000, 64, device=device) * 3
    with torch.inference_mode():
        expected = gelu(layer(rows))
        got = ProductThenGelu(layer)(rows)
    assert float((got - expected).abs().max()) < 1e-3  # the tanh form is off by 4.7e-4


@pytest.mark.parametrize("device", DEVICES)
def test_use_fused_answers_as_the_layers_of_transformers(request, device):
    if device == "cpu":
        request.getfixturevalue("eager")
    network = small(device)
    layer = network.bert.encoder.layer[0]
    rows = torch.randn(9, 48, device=device, dtype=torch.bfloat16)
    with torch.inference_mode():
        attended = layer.attention.output(rows, rows)
        expected = layer.feed_forward_chunk(attended)
        use_fused(network, torch.device(device))
        got = layer.feed_forward_chunk(layer.attention.output(rows, rows))
    assert isinstance(layer.intermediate, ProductThenGelu)
    assert isinstance(layer.attention.output, SumThenNorm)
    assert isinstance(layer.output, SumThenNorm)
    assert float((got - expected).abs().max()) < 0.06  # a step of bf16 or two
    assert float(expected.std()) > 0.5


def test_use_fused_leaves_the_norm_that_makes_the_cls_vector(eager):
    network = small("cpu")
    last = network.bert.encoder.layer[-1]
    use_fused(network, torch.device("cpu"))
    assert isinstance(last.intermediate, ProductThenGelu)
    assert isinstance(last.output.LayerNorm, packed.NormInFp32)


def test_use_fused_leaves_an_activation_that_is_not_gelu(eager):
    network = small("cpu", hidden_act="relu")
    use_fused(network, torch.device("cpu"))
    assert not isinstance(network.bert.encoder.layer[0].intermediate, ProductThenGelu)


def test_what_does_not_run_is_told_and_left_as_it_was(monkeypatch, caplog):
    def no_compiler(*_, **__):
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    monkeypatch.setattr(fused, "compiled", lambda: no_compiler)
    monkeypatch.setattr(torch, "_addmm_activation", no_compiler)
    network = small("cpu")
    with caplog.at_level(logging.WARNING, logger="rubert_ood"):
        use_fused(network, torch.device("cpu"))
    kinds = {type(module) for module in network.modules()}
    assert not kinds & {ProductThenGelu, SumThenNorm}
    gelu_line, norm_line = (record.getMessage() for record in caplog.records)
    assert "GELU in a product does not run on this GPU" in gelu_line
    assert "RuntimeError: Failed to find C compiler. Please specify one" in norm_line


def test_what_gives_other_numbers_is_told_and_left_as_it_was(monkeypatch, caplog):
    def wrong(*inputs):
        return fused.sum_then_norm(*inputs) + 0.2

    monkeypatch.setattr(fused, "compiled", lambda: wrong)
    network = small("cpu")
    with caplog.at_level(logging.WARNING, logger="rubert_ood"):
        use_fused(network, torch.device("cpu"))
    assert SumThenNorm not in {type(module) for module in network.modules()}
    assert "differs by 0.2" in caplog.text

"""The twins of layers in bf16 beside the layers themselves, cast by `Module.to`."""

import copy

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from rubert_ood.classifier.attention import ByLength
from rubert_ood.classifier.packed import NormInFp32, context
from rubert_ood.training.trained_layers import LayersInBf16, LayersInFp32


def _layers() -> torch.nn.ModuleList:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=20,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config).bert.encoder.layer


def _rows(seed: int) -> torch.Tensor:
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(7, 32, generator=noise).bfloat16()


def _feed_forward(layer, rows: torch.Tensor) -> torch.Tensor:
    return layer.feed_forward_chunk(layer.attention.output(rows, rows))


def test_twin_computes_what_the_layer_does_when_it_is_cast():
    layers = _layers()
    first, _ = LayersInBf16(layers)()
    cast = copy.deepcopy(layers[0]).to(torch.bfloat16)
    assert torch.equal(_feed_forward(first, _rows(2)), _feed_forward(cast, _rows(2)))


def test_gradients_are_those_of_the_cast_layer_in_fp32():
    layers = _layers()
    first, _ = LayersInBf16(layers)()
    cast = copy.deepcopy(layers[0]).to(torch.bfloat16)
    for layer in (first, cast):
        (_feed_forward(layer, _rows(2)) * _rows(3)).sum().backward()
    expected = dict(cast.named_parameters())
    with_gradient = 0
    for name, weight in layers[0].named_parameters():
        if expected[name].grad is None:
            continue  # of the attention, which was not run
        assert weight.grad.dtype == torch.float32
        assert torch.equal(weight.grad, expected[name].grad.float()), name
        with_gradient += 1
    assert with_gradient == 10


def test_attention_and_its_gradients_are_those_of_the_cast_layer():
    layers = _layers()
    cast = copy.deepcopy(layers).to(torch.bfloat16)
    lengths = np.array([4, 3])
    attend = ByLength(lengths, torch.from_numpy(lengths))
    for twin, one in zip(LayersInBf16(layers)(), cast, strict=True):
        rows = _rows(2), _rows(2)
        found, expected = [
            context(layer, part.requires_grad_(), part, attend)
            for layer, part in zip((twin, one), rows, strict=True)
        ]
        torch.testing.assert_close(found, expected)
        for part in (found, expected):
            (part * _rows(3)).sum().backward()
        # the cast layer rounds each of the three products before it adds them up
        torch.testing.assert_close(rows[0].grad, rows[1].grad, atol=0.02, rtol=0.02)
    expected = dict(cast.named_parameters())
    for name, weight in layers.named_parameters():
        if ".self." in name:
            assert weight.grad.dtype == torch.float32
            assert expected[name].grad.abs().max() > 0
            torch.testing.assert_close(weight.grad.bfloat16(), expected[name].grad)


def test_queries_keys_and_values_are_one_product_in_all_layers_but_the_last():
    first, last = LayersInBf16(_layers())()
    assert first.attention.self.query_key_value.weight.shape == (96, 32)
    assert last.attention.self.query.weight.shape == (32, 32)


def test_gradients_of_several_passes_add_up_in_fp32():
    """In bf16 a 256th of a sum is lost when it is added."""
    layers = _layers()
    layers_of = LayersInBf16(layers)
    weight = layers[0].output.dense.bias
    for _ in range(300):
        first, _ = layers_of()
        first.output.dense.bias.sum().backward()
    assert weight.grad.tolist() == [300.0] * 32


def test_last_norm_is_fp32_and_its_own():
    layers = _layers()
    *_, last = LayersInBf16(layers)()
    norm = last.output.LayerNorm
    assert isinstance(norm, NormInFp32)
    assert norm.norm is layers[-1].output.LayerNorm
    assert _feed_forward(last, _rows(2)).dtype == torch.float32


def test_layers_in_fp32_are_the_layers():
    layers = _layers()
    first, second = LayersInFp32(layers)()
    assert (first, second) == (layers[0], layers[1])

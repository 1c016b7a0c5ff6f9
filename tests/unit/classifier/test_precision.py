import copy
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.errors import SettingsError


def test_precision_on_cpu_is_fp32_unless_asked_otherwise():
    assert (choose_device(False).device.type, choose_device(False).precision) == (
        "cpu",
        "fp32",
    )
    assert choose_device(False, "int8").precision == "int8"


@pytest.mark.parametrize(
    ("gpu", "bf16", "precision", "expected"),
    [
        (True, True, None, "bf16"),
        (True, False, None, "fp32"),
        (True, True, "fp32", "fp32"),
        (True, False, "bf16", "this GPU does not support bf16"),
        (True, True, "int8", "int8 runs on CPU only"),
        (False, False, None, "torch finds no GPU"),
    ],
)
def test_precision_on_a_gpu_is_what_it_computes_in(
    monkeypatch, gpu, bf16, precision, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    if expected in ("bf16", "fp32"):
        device = choose_device(True, precision)
        assert (device.device.type, device.precision) == ("cuda", expected)
    else:
        with pytest.raises(SettingsError, match=expected):
            choose_device(True, precision)


@pytest.mark.parametrize(("bf16", "amx"), [(True, False), (False, True), (False, False)])
def test_precision_bf16_on_a_cpu_without_its_products_is_told_in_one_line(
    monkeypatch, caplog, bf16, amx
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(logging.getLogger("rubert_ood"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        device = choose_device(False, "bf16")
    assert device.dtype == torch.bfloat16
    found = [record.getMessage() for record in caplog.records]
    told = ["is slower than fp32" in line for line in found]
    assert told == ([] if bf16 or amx else [True])
    choose_device(False, "fp32")
    assert len(caplog.records) == len(found)


def test_precision_of_a_gpu_that_only_emulates_bf16_is_fp32(monkeypatch):
    """As on a V100: torch itself would say that it is supported."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=7)
    )
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    assert torch.cuda.is_bf16_supported()
    assert choose_device(True).precision == "fp32"
    with pytest.raises(SettingsError, match="this GPU does not support bf16"):
        choose_device(True, "bf16")


def test_precision_int8_quantises_a_copy_of_the_linear_layers_by_channel():
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 8)
    with torch.no_grad():
        linear.weight *= (
            10.0 ** torch.arange(-4, 4)[:, None]
        )  # one scale for all channels would lose the small ones
    network = torch.nn.Sequential(linear)
    before = copy.deepcopy(network.state_dict())
    prepared = choose_device(False, "int8").prepare(network)
    assert all(
        torch.equal(before[name], value) for name, value in network.state_dict().items()
    )
    rows = torch.randn(100, 64)
    error = (prepared(rows) - network(rows)).abs().amax(0)
    # half a step of each weight for each input, and half a step of each input (7 bits: x86 sums)
    # for each weight
    weight_step = linear.weight.detach().abs().amax(1) / 127
    input_step = (rows.max() - rows.min()) / 127
    bound = weight_step / 2 * rows.abs().sum(
        1
    ).max() + input_step / 2 * linear.weight.detach().abs().sum(1)
    assert (error <= 1.1 * bound).all()
    assert error.min() > 0


@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 0.3), ("bf16", 0.1)])
def test_precision_other_than_fp32_answers_nearly_the_same(
    small_checkpoint, ad_texts, precision, tolerance
):
    plain, other = (
        Classifier.load(small_checkpoint, precision=name) for name in ("fp32", precision)
    )
    ids = tokenize(plain.tokenizer, ad_texts, 48)
    for expected, got in zip(
        plain.run(ids, token_budget=1000), other.run(ids, token_budget=1000), strict=True
    ):
        assert got.dtype == np.float32
        assert 0 < np.abs(got - expected).mean() < tolerance * np.abs(expected).std()

"""The packed forward pass beside transformers, one ad at a time; test_classifier has whole runs."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from rubert_ood.classifier import attention
from rubert_ood.classifier.attention import ByLength, Packed, flash
from rubert_ood.classifier.packed import (
    NormInFp32,
    PackedBatch,
    can_pack,
    forward,
    store_in_bf16,
)
from tests.unit.classifier.test_attention import DEVICES, plain_varlen

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "initializer_range": 0.3,
}
LENGTHS = [[1], [5], [20], [3, 3, 3], [2, 7, 7, 20], [1, 1, 9]]
NUM_BITS = 8
"""Of the mantissa of bf16, the hidden one included."""


@pytest.fixture(scope="module")
def network() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SIZES, num_labels=4)).eval()


def packed_batch(lengths: list[int], kind: type, device: str) -> PackedBatch:
    noise = torch.Generator().manual_seed(1)
    ids_T = torch.randint(50, (sum(lengths),), generator=noise).to(device)
    lengths_N = torch.tensor(lengths, device=device)
    return PackedBatch(ids_T, lengths_N, kind(np.array(lengths), lengths_N))


def one_by_one(network, batch: PackedBatch) -> tuple[torch.Tensor, ...]:
    """Return logits, CLS and the mean of the tokens before the last layer, by transformers."""
    logits, cls, tokens = [], [], []
    for ids in batch.ids_T.split(batch.lengths_N.tolist()):
        output = network(input_ids=ids[None], output_hidden_states=True)
        logits.append(output.logits)
        cls.append(output.hidden_states[-1][:, 0])
        tokens.append(output.hidden_states[-2].float().mean(dim=1))
    return torch.cat(logits), torch.cat(cls), torch.cat(tokens)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_packed_forward_equals_transformers_one_ad_at_a_time(network, lengths, device):
    here = copy.deepcopy(network).to(device)
    batch = packed_batch(lengths, ByLength, device)
    with torch.no_grad():
        found, expected = forward(here, batch), one_by_one(here, batch)
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    assert found[0].shape == (len(lengths), 4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [ByLength, partial(Packed, (flash,))])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_packed_forward_in_bf16_is_as_near_to_fp32_as_autocast(
    network, monkeypatch, lengths, kind, device
):
    if device == "cpu":
        monkeypatch.setattr(attention, "varlen_attn", plain_varlen)
    fp32, bf16 = (copy.deepcopy(network).to(device) for _ in range(2))
    store_in_bf16(bf16)
    batch = packed_batch(lengths, kind, device)
    with torch.no_grad():
        found, expected = forward(bf16, batch, torch.bfloat16), one_by_one(fp32, batch)
        with torch.autocast(device, dtype=torch.bfloat16):
            autocast = one_by_one(fp32, batch)
    for got, wanted, usual in zip(found, expected, autocast, strict=True):
        assert got.dtype == torch.float32
        size = wanted.square().mean().sqrt()
        # two layers, each of which rounds its rows some six times
        assert (got - wanted).square().mean().sqrt() < 12 * size / 2**NUM_BITS
        assert (got - usual).square().mean().sqrt() < 12 * size / 2**NUM_BITS
    assert (found[1] - expected[1]).abs().max() > 0


def test_store_in_bf16_keeps_in_fp32_what_makes_cls_and_logits(network):
    kept = copy.deepcopy(network)
    store_in_bf16(kept)
    fp32 = set()
    for name, weight in kept.named_parameters():
        if weight.dtype == torch.float32:
            fp32.add(name)
            before = network.get_parameter(name.replace("LayerNorm.norm", "LayerNorm"))
            assert torch.equal(weight, before)
    inside = {name for name in fp32 if "encoder" in name}
    assert inside == {
        "bert.encoder.layer.1.output.LayerNorm.norm.weight",
        "bert.encoder.layer.1.output.LayerNorm.norm.bias",
    }
    assert {name.split(".")[1] for name in fp32 - inside} >= {"embeddings", "pooler"}


def test_norm_in_fp32_answers_bf16_without_rounding():
    norm = torch.nn.LayerNorm(16)
    torch.nn.init.normal_(norm.weight)
    rows = torch.randn(5, 16).bfloat16()
    got, exact = NormInFp32(norm)(rows), rows.double()
    exact = (exact - exact.mean(1, keepdim=True)) / (
        exact.var(1, correction=0, keepdim=True) + norm.eps
    ).sqrt()
    assert got.dtype == torch.float32
    torch.testing.assert_close(
        got.double(), exact * norm.weight.double(), atol=1e-5, rtol=0
    )


def test_can_pack_knows_encoders_of_bert_and_no_others(
    network: BertForSequenceClassification,
) -> None:
    roberta = RobertaForSequenceClassification(RobertaConfig(**SIZES))
    decoder = AutoModelForSequenceClassification.from_config(
        BertConfig(**SIZES, is_decoder=True)
    )
    assert can_pack(network)
    assert not can_pack(roberta)
    assert not can_pack(decoder)

"""The network of training against that of transformers: logits and gradients, ad by ad."""

import copy

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from rubert_ood.classifier import onednn
from rubert_ood.classifier.precision import Device
from rubert_ood.training import trained_network as module
from rubert_ood.training.products import TrainedLinear
from rubert_ood.training.trained_network import (
    PackedNetwork,
    PaddedNetwork,
    trained_network,
)

CPU = Device(torch.device("cpu"), "fp32")
BF16 = Device(torch.device("cpu"), "bf16")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
SHAPE = {
    "vocab_size": 300,
    "hidden_size": 48,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "num_labels": 5,
}
LENGTHS = [9, 9, 9, 4, 4, 1]
EXTENT = torch.tensor(LENGTHS), np.array(LENGTHS)


def _bert(dropout: float = 0.0, num_layers: int = 3) -> BertForSequenceClassification:
    torch.manual_seed(3)
    config = BertConfig(
        **SHAPE,
        num_hidden_layers=num_layers,
        initializer_range=0.2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertForSequenceClassification(config).train()


def _ads() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(5, 300, (length,), generator=generator) for length in LENGTHS]


def _loss(logits_NC: torch.Tensor) -> torch.Tensor:
    labels_N = torch.arange(len(logits_NC)) % SHAPE["num_labels"]
    return torch.nn.functional.cross_entropy(logits_NC, labels_N)


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("fast", [True, False])
def test_packed_network_has_the_gradients_of_one_ad_at_a_time(
    monkeypatch, num_layers, fast
):
    plain = _bert(num_layers=num_layers).double()
    expected_NC = torch.cat([plain(ad[None]).logits for ad in _ads()])
    _loss(expected_NC).backward()
    if not fast:
        monkeypatch.setattr(onednn, "can_use", lambda _: False)
    network = _bert(num_layers=num_layers)
    packed = trained_network(network, CPU)
    assert isinstance(packed, PackedNetwork)
    has_fast = any(isinstance(module, TrainedLinear) for module in packed.modules())
    assert has_fast == (fast and onednn.can_use())
    logits_NC = packed(torch.cat(_ads()), *EXTENT)
    np.testing.assert_allclose(
        logits_NC.detach(), expected_NC.detach(), rtol=1e-4, atol=1e-5
    )
    _loss(logits_NC).backward()
    exact = dict(plain.named_parameters())
    for name, weight in network.named_parameters():
        expected = exact[name].grad
        scale = float(expected.abs().max()) + 1e-3
        np.testing.assert_allclose(
            weight.grad, expected, rtol=1e-3, atol=1e-4 * scale, err_msg=name
        )


def test_packed_network_drops_out_in_training_alone():
    network = _bert(dropout=0.5)
    packed = trained_network(network, CPU)
    inputs = (torch.cat(_ads()), *EXTENT)
    torch.manual_seed(0)
    first, second = packed(*inputs), packed(*inputs)
    torch.manual_seed(0)
    again = packed(*inputs)
    assert torch.equal(first, again)  # the seed decides
    assert not torch.allclose(first, second)
    packed.eval()
    assert torch.equal(packed(*inputs), packed(*inputs))


def test_packed_network_drops_attention_and_pooled_vector_as_transformers_does():
    """With every other place of dropout shut the mean of many draws is the value without it, and
    the draws of each place differ."""
    network = _bert(num_layers=1)
    packed = trained_network(copy.deepcopy(network), CPU)
    inputs = (torch.cat(_ads()), *EXTENT)
    still = packed(*inputs).detach()
    attention = packed.network.bert.encoder.layer[0].attention.self
    for place in (attention.dropout, packed.network.dropout):
        place.p = 0.3
        draws = torch.stack([packed(*inputs).detach() for _ in range(20)])
        assert draws.std(0).min() > 0
        place.p = 0.0
    assert torch.equal(packed(*inputs).detach(), still)


@pytest.mark.parametrize("where", DEVICES)
def test_network_in_bf16_has_gradients_near_those_of_fp32_in_fp32(where):
    plain = _bert(num_layers=3)
    expected_NC = torch.cat([plain(ad[None]).logits for ad in _ads()])
    _loss(expected_NC).backward()
    network = _bert(num_layers=3)
    packed = trained_network(network, Device(torch.device(where), "bf16")).to(where)
    assert isinstance(packed, PackedNetwork)
    lengths_N, lengths = EXTENT
    inputs = torch.cat(_ads()).to(where), lengths_N.to(where), lengths
    logits_NC = packed(*inputs).cpu()
    assert logits_NC.dtype == torch.float32
    assert not torch.equal(logits_NC, expected_NC)
    np.testing.assert_allclose(logits_NC.detach(), expected_NC.detach(), atol=0.05)
    _loss(logits_NC).backward()
    exact = dict(plain.named_parameters())
    for name, weight in network.named_parameters():
        assert weight.dtype == weight.grad.dtype == torch.float32
        difference = float((weight.grad.cpu() - exact[name].grad).norm())
        scale = float(exact[name].grad.norm())
        assert difference < 0.05 * scale + 1e-3, name


def test_network_in_bf16_takes_the_weights_of_the_moment():
    network = _bert()
    packed = trained_network(network, BF16)
    before = packed(torch.cat(_ads()), *EXTENT)
    with torch.no_grad():
        network.bert.encoder.layer[1].attention.self.value.weight.mul_(3)
    after = packed(torch.cat(_ads()), *EXTENT)
    assert float((after - before).detach().abs().max()) > 0.1


def test_network_in_bf16_has_no_weight_beside_those_of_the_network():
    network = _bert()
    names = {id(weight): name for name, weight in network.named_parameters()}
    packed = trained_network(network, BF16)
    packed(torch.cat(_ads()), *EXTENT)
    assert {id(weight) for weight in packed.parameters()} == set(names)
    assert dict(network.named_parameters()).keys() == set(names.values())


def test_trained_network_of_another_encoder_is_padded():
    config = RobertaConfig(**SHAPE, num_hidden_layers=1)
    other = trained_network(RobertaForSequenceClassification(config), CPU)
    assert isinstance(other, PaddedNetwork)


def test_trained_network_without_a_kernel_for_its_attention_is_padded(monkeypatch):
    monkeypatch.setattr(module, "choose_trained_attention", lambda *_: None)
    network = _bert().eval()
    padded = trained_network(network, CPU)
    assert isinstance(padded, PaddedNetwork)
    assert not any(isinstance(part, TrainedLinear) for part in padded.modules())
    ads = _ads()
    ids_NL = torch.nn.utils.rnn.pad_sequence(ads, batch_first=True)
    mask_NL = (torch.arange(9)[None] < torch.tensor(LENGTHS)[:, None]).long()
    expected = torch.cat([network(ad[None]).logits for ad in ads]).detach()
    np.testing.assert_allclose(padded(ids_NL, mask_NL).detach(), expected, atol=1e-5)

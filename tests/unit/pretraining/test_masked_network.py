"""The network of pretraining against BertForMaskedLM of transformers, ad by ad."""

import copy

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

from rubert_ood.classifier import onednn
from rubert_ood.classifier.precision import Device
from rubert_ood.pretraining import masked_network as module
from rubert_ood.pretraining.layout import MaskedLayout
from rubert_ood.pretraining.masked_network import (
    PackedMaskedNetwork,
    PaddedMaskedNetwork,
    masked_network,
)
from rubert_ood.pretraining.masking import Masked

CPU = Device(torch.device("cpu"), "fp32")
SHAPE = {
    "vocab_size": 300,
    "hidden_size": 48,
    "num_attention_heads": 4,
    "intermediate_size": 80,
}
LENGTHS = [9, 9, 9, 4, 4, 2]


class _EveryThird:
    """Hides every third token, by id 4."""

    def hide(self, ids_T: np.ndarray, rng: np.random.Generator) -> Masked:
        places_M = np.arange(1, len(ids_T), 3)
        shown_T = ids_T.copy()
        shown_T[places_M] = 4
        return Masked(shown_T, places_M, ids_T[places_M])


def _network(num_layers: int = 2, dropout: float = 0.0) -> BertForPreTraining:
    torch.manual_seed(3)
    config = BertConfig(
        **SHAPE,
        num_hidden_layers=num_layers,
        initializer_range=0.2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertForPreTraining(config).train()


def _ads() -> pa.ListArray:
    rng = np.random.default_rng(5)
    ads = [rng.integers(5, 300, length).tolist() for length in LENGTHS]
    return pa.array(ads, pa.list_(pa.int32()))


def _expected(network: BertForPreTraining) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of BertForMaskedLM, one ad at a time, in float64."""
    plain = BertForMaskedLM(network.config).train()
    plain.load_state_dict(network.state_dict(), strict=False)
    plain = plain.double()
    masked = _EveryThird().hide(np.concatenate(_ads().to_pylist()), None)
    labels_T = np.full(len(masked.ids_T), -100)
    labels_T[masked.places_M] = masked.hidden_M
    loss, start = torch.zeros((), dtype=torch.float64), 0
    for length in LENGTHS:
        ad = slice(start, start + length)
        ids, labels = (torch.tensor(array[ad]) for array in (masked.ids_T, labels_T))
        logits = plain(input_ids=ids[None]).logits[0]
        loss = loss + torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        start += length
    loss.backward()
    return loss.item(), {name: w.grad for name, w in plain.named_parameters()}


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("kind", ["packed", "packed by torch", "padded"])
def test_network_has_the_loss_and_gradients_of_transformers(
    monkeypatch, num_layers, kind
):
    network = _network(num_layers)
    loss, gradients = _expected(network)
    if kind == "packed by torch":
        monkeypatch.setattr(onednn, "can_use", lambda _: False)
    if kind == "padded":
        monkeypatch.setattr(module, "choose_trained_attention", lambda *_: None)
        forward = masked_network(network, CPU)
        assert isinstance(forward, PaddedMaskedNetwork)
    else:
        forward = masked_network(network, CPU)
        assert isinstance(forward, PackedMaskedNetwork)
    layout = MaskedLayout(_EveryThird(), 0 if kind == "padded" else None)
    (batch,) = layout.batches((_ads(), np.random.default_rng(0)))
    assert batch.num_tokens == sum(LENGTHS)
    logits_MV = forward(*batch.inputs)
    found = torch.nn.functional.cross_entropy(logits_MV, batch.labels_N, reduction="sum")
    assert found.item() == pytest.approx(loss, rel=1e-5)
    found.backward()
    for name, weight in network.named_parameters():
        if "pooler" in name or "seq_relationship" in name:
            assert weight.grad is None, name
            continue
        expected = gradients[name]
        atol = 1e-4 * float(expected.abs().max()) + 1e-5  # that of key biases is 0
        np.testing.assert_allclose(
            weight.grad, expected, rtol=1e-3, atol=atol, err_msg=name
        )


def test_packed_ads_do_not_see_each_other():
    network = _network().eval()
    forward = masked_network(network, CPU)
    layout = MaskedLayout(_EveryThird(), None)
    ads = _ads()
    changed = pa.array([[7] * 9, *ads.to_pylist()[1:]], ads.type)
    logits = []
    for table in (ads, changed):
        (batch,) = layout.batches((table, np.random.default_rng(0)))
        logits.append(forward(*batch.inputs).detach())
    num_of_first = len(range(1, LENGTHS[0], 3))
    assert not torch.allclose(logits[0][:num_of_first], logits[1][:num_of_first])
    torch.testing.assert_close(logits[0][num_of_first:], logits[1][num_of_first:])


def test_output_embedding_is_the_input_embedding_after_a_step():
    network = _network()
    before = copy.deepcopy(network.state_dict())
    forward = masked_network(network, CPU)
    (batch,) = MaskedLayout(_EveryThird(), None).batches(
        (_ads(), np.random.default_rng(0))
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, fused=True)
    torch.nn.functional.cross_entropy(forward(*batch.inputs), batch.labels_N).backward()
    optimiser.step()
    embedding = network.bert.embeddings.word_embeddings.weight
    assert network.cls.predictions.decoder.weight is embedding
    assert not torch.equal(embedding, before["bert.embeddings.word_embeddings.weight"])
    for name in ("bert.pooler.dense.weight", "cls.seq_relationship.weight"):
        assert torch.equal(network.state_dict()[name], before[name])


def test_step_is_cut_by_the_token_budget_and_hides_in_each_pass():
    layout = MaskedLayout(_EveryThird(), None, token_budget=18)
    batches = layout.batches((_ads(), np.random.default_rng(0)))
    assert [batch.num_tokens for batch in batches] == [18, 13, 6]
    assert all(len(batch.labels_N) for batch in batches)

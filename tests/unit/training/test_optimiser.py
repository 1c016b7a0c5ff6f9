"""The learning rate of every step and layer, and what is decayed."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from rubert_ood.settings import OptimiserSettings
from rubert_ood.training.optimiser import default_rate, make_optimiser, make_schedule


def _notebook(**given: float) -> OptimiserSettings:
    return OptimiserSettings(**given).by("notebook")


def _bert(width: int = 32) -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=20,
        hidden_size=width,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
    )
    return BertForSequenceClassification(config)


def _rates(settings: OptimiserSettings, steps_per_epoch: int) -> list[float]:
    optimiser = make_optimiser(torch.nn.Linear(2, 2), settings)
    schedule = make_schedule(optimiser, settings, steps_per_epoch)
    rates = []
    for _ in range(steps_per_epoch * settings.num_epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return [*rates, optimiser.param_groups[0]["lr"]]


def test_make_schedule_decays_linearly_to_0_at_the_last_step():
    rates = _rates(_notebook(learning_rate=8.0, num_epochs=2), 2)
    assert rates == pytest.approx([8, 6, 4, 2, 0])


def test_make_schedule_rises_linearly_over_the_warm_up():
    settings = _notebook(learning_rate=6.0, num_epochs=1, warmup_fraction=0.5)
    assert _rates(settings, 4) == pytest.approx([2, 4, 6, 3, 0])


def test_make_optimiser_decays_matrices_alone_and_is_fused():
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    optimiser = make_optimiser(network, _notebook(weight_decay=0.1))
    decayed, exempt = optimiser.param_groups
    assert [tuple(weight.shape) for weight in decayed["params"]] == [(2, 3)]
    assert decayed["weight_decay"] == 0.1
    assert {weight.ndim for weight in exempt["params"]} == {1}
    assert exempt["weight_decay"] == 0
    assert decayed["fused"]


def test_make_optimiser_takes_the_state_that_an_unfused_one_left(tmp_path):
    """Checkpoints of 0.3.0 hold such."""
    torch.manual_seed(0)
    old, new = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    new.load_state_dict(old.state_dict())
    rows = torch.randn(4, 3)
    groups = [{"params": [old.weight]}, {"params": [old.bias], "weight_decay": 0.0}]
    before = torch.optim.AdamW(groups, lr=1e-2)
    settings = _notebook(learning_rate=1e-2)
    after = make_optimiser(new, settings)

    def step(network: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        network(rows).pow(2).sum().backward()
        optimiser.step()

    step(old, before)
    torch.save(before.state_dict(), tmp_path / "optimiser.pt")
    new.load_state_dict(old.state_dict())
    after.load_state_dict(torch.load(tmp_path / "optimiser.pt", weights_only=True))
    step(old, before)
    step(new, after)
    torch.testing.assert_close(new.weight, old.weight)


def test_make_optimiser_gives_each_layer_less_than_the_one_above_it():
    settings = OptimiserSettings(learning_rate=1.0, layer_decay=0.5)
    network = _bert()
    names = {id(weight): name for name, weight in network.named_parameters()}
    rates, seen = {}, 0
    for group in make_optimiser(network, settings).param_groups:
        for weight in group["params"]:
            rates[names[id(weight)]] = group["lr"]
            exempt = weight.ndim <= 1
            assert group["weight_decay"] == (0.0 if exempt else settings.weight_decay)
            seen += 1
    assert seen == len(names)  # each once
    assert rates["classifier.weight"] == rates["bert.pooler.dense.bias"] == 1.0
    assert rates["bert.encoder.layer.2.output.dense.weight"] == 1.0
    assert rates["bert.encoder.layer.1.attention.self.query.bias"] == 0.5
    assert rates["bert.encoder.layer.0.output.LayerNorm.weight"] == 0.25
    assert rates["bert.embeddings.word_embeddings.weight"] == 0.125
    assert rates["bert.embeddings.LayerNorm.bias"] == 0.125


def test_make_schedule_moves_the_rates_of_all_layers_alike():
    settings = OptimiserSettings(
        learning_rate=1.0, layer_decay=0.5, num_epochs=1, warmup_fraction=0.0
    )
    optimiser = make_optimiser(_bert(), settings)
    before = [group["lr"] for group in optimiser.param_groups]
    schedule = make_schedule(optimiser, settings, 4)
    optimiser.step()
    schedule.step()
    after = [group["lr"] for group in optimiser.param_groups]
    assert after == pytest.approx([0.75 * rate for rate in before])


@pytest.mark.parametrize(("width", "rate"), [(768, 5e-5), (384, 2e-4), (128, 1.8e-3)])
def test_make_optimiser_without_a_rate_takes_that_of_the_width(width, rate):
    optimiser = make_optimiser(_bert(width), OptimiserSettings())
    assert default_rate(width) == pytest.approx(rate)
    assert max(group["lr"] for group in optimiser.param_groups) == default_rate(width)

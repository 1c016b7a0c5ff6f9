"""What the loop of pretraining needs no cluster for."""

import pytest
from transformers import BertConfig, BertForPreTraining

from rubert_ood.pretraining.loop import plain_settings
from rubert_ood.settings import PretrainOptimiserSettings
from rubert_ood.training.optimiser import make_optimiser, make_schedule


def test_every_layer_learns_at_the_rate_that_is_given():
    config = BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=8,
    )
    given = PretrainOptimiserSettings(
        learning_rate=3e-4, weight_decay=0.2, num_epochs=2, warmup_fraction=0.0
    )
    plain = plain_settings(given)
    optimiser = make_optimiser(BertForPreTraining(config), plain)
    rates = [group["lr"] for group in optimiser.param_groups]
    assert set(rates) == {3e-4}
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0.0, 0.2}
    schedule = make_schedule(optimiser, plain, 5)
    for _ in range(5):
        optimiser.step()
        schedule.step()
    assert schedule.get_last_lr()[0] == pytest.approx(1.5e-4)

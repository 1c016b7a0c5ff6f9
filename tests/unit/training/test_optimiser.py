"""The learning rate of every step, and what is decayed."""

import pytest
import torch

from rubert_ood.settings import OptimiserSettings
from rubert_ood.training.optimiser import make_optimiser, make_schedule


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
    rates = _rates(OptimiserSettings(learning_rate=8.0, num_epochs=2), 2)
    assert rates == pytest.approx([8, 6, 4, 2, 0])


def test_make_schedule_rises_linearly_over_the_warm_up():
    settings = OptimiserSettings(learning_rate=6.0, num_epochs=1, warmup_fraction=0.5)
    assert _rates(settings, 4) == pytest.approx([2, 4, 6, 3, 0])


def test_make_optimiser_decays_matrices_alone_and_is_fused():
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    optimiser = make_optimiser(network, OptimiserSettings(weight_decay=0.1))
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
    settings = OptimiserSettings(learning_rate=1e-2)
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

"""Gradient norm and learning rate of an epoch."""

import pytest
import torch

from rubert_ood.training.checkpoints import EpochSums
from rubert_ood.training.gauge import Gauge


def test_gauge_that_is_resumed_has_the_means_of_the_whole_epoch():
    """To the last bit those of one that was not disturbed, and also after the last step."""
    norms = torch.rand(9, generator=torch.Generator().manual_seed(1))
    weight = torch.nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.SGD([weight], lr=0.5)
    whole = Gauge(optimiser)
    for norm in norms:
        whole.note(norm)
    for cut in (4, 9):
        first, second = Gauge(optimiser), Gauge(optimiser)
        for norm in norms[:cut]:
            first.note(norm)
        saved = EpochSums(**first.sums()).model_dump_json()
        second.restart(EpochSums.model_validate_json(saved), num_steps=cut)
        for norm in norms[cut:]:
            second.note(norm)
        assert second.means() == whole.means()
    assert whole.means()["learning_rate"] == 0.5


def test_gauge_has_the_means_of_the_steps_since_it_was_restarted():
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    groups = [{"params": [weights[0]], "lr": 1.0}, {"params": [weights[1]], "lr": 3.0}]
    optimiser = torch.optim.SGD(groups)
    gauge = Gauge(optimiser)
    assert gauge.means() == {"grad_norm": 0.0, "learning_rate": 0.0}
    gauge.note(torch.tensor(9.0))
    gauge.restart()
    for norm, rate in ((2.0, 3.0), (6.0, 5.0)):
        optimiser.param_groups[1]["lr"] = rate
        gauge.note(torch.tensor(norm))
    assert gauge.means() == pytest.approx({"grad_norm": 4.0, "learning_rate": 4.0})

"""The running mean of the weights against its sum written out."""

import numpy as np
import pytest
import torch

from rubert_ood.training.averaging import RAMP, WeightAverage


def _moved(network: torch.nn.Linear, step: int) -> None:
    with torch.no_grad():
        network.weight.copy_(torch.full((2, 3), float(step**2)))
        network.bias.copy_(torch.tensor([float(step), -1.0]))


def _expected(values: list[float], num_steps: float) -> float:
    """Weigh each step: the first mean is the first step."""
    mean = values[0]
    for number, value in enumerate(values[1:], start=1):
        share = max(1 / num_steps, RAMP / (RAMP + number))
        mean = (1 - share) * mean + share * value
    return mean


@pytest.mark.parametrize("num_steps", [1, 3, 40.5])
def test_weight_average_is_the_exponential_mean_of_the_steps(num_steps):
    network = torch.nn.Linear(3, 2)
    average = WeightAverage(network, num_steps)
    for step in range(200):
        _moved(network, step)
        average.update()
    expected = _expected([float(step**2) for step in range(200)], num_steps)
    np.testing.assert_allclose(
        average.network.weight.detach().numpy(), np.full((2, 3), expected), rtol=1e-4
    )
    assert float(average.network.bias[1].detach()) == pytest.approx(-1.0)
    assert float(network.weight[0, 0].detach()) == 199.0**2


def test_weight_average_goes_on_from_a_checkpoint():
    network = torch.nn.Linear(3, 2)
    whole = WeightAverage(network, 20)
    for step in range(30):
        _moved(network, step)
        whole.update()
    saved = torch.nn.Linear(3, 2)
    saved.load_state_dict(whole.network.state_dict())
    resumed = WeightAverage(saved, 20)
    resumed.load_state_dict(whole.state_dict())
    for step in range(30, 40):
        _moved(network, step)
        whole.update()
        _moved(saved, step)
        resumed.update()
    torch.testing.assert_close(resumed.network.weight, whole.network.weight)
    assert resumed.state_dict() == whole.state_dict() == {"num_steps": 40}

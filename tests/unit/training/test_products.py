"""Products by oneDNN against plain ones in float64, gradients included."""

import numpy as np
import pytest
import torch

from rubert_ood.classifier import onednn
from rubert_ood.training.products import TrainedLinear, use_onednn

pytestmark = pytest.mark.skipif(not onednn.can_use(), reason="this torch has no oneDNN")


def _gradients(layer: torch.nn.Module, rows: torch.Tensor) -> list[np.ndarray]:
    rows = rows.clone().requires_grad_()
    (layer(rows) ** 3).sum().backward()
    parameters = [parameter.grad.numpy() for parameter in layer.parameters()]
    return [rows.grad.numpy(), *parameters]


@pytest.mark.parametrize("num_rows", [1, 7, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_trained_linear_has_the_values_and_gradients_of_the_plain_layer(num_rows, bias):
    torch.manual_seed(0)
    layer, rows = torch.nn.Linear(26, 40, bias=bias), torch.randn(num_rows, 26)
    exact = torch.nn.Linear(26, 40, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    use_onednn(torch.nn.Sequential(layer))
    assert type(layer) is TrainedLinear
    expected = exact(rows.double()).detach().numpy()
    np.testing.assert_allclose(layer(rows).detach(), expected, rtol=1e-5, atol=1e-5)
    wanted = _gradients(exact, rows.double())
    for mine, theirs in zip(_gradients(layer, rows), wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_trained_linear_takes_gradients_that_lie_in_any_order():
    torch.manual_seed(0)
    layer, rows = torch.nn.Linear(8, 6), torch.randn(5, 8)
    use_onednn(torch.nn.Sequential(layer))
    layer(rows).sum().backward()  # the gradient is one number, expanded
    np.testing.assert_allclose(
        layer.weight.grad, rows.sum(0).expand(6, 8), rtol=1e-5, atol=1e-6
    )
    layer.zero_grad()
    columns = torch.randn(6, 5)
    (layer(rows).t() * columns).sum().backward()  # transposed
    np.testing.assert_allclose(layer.weight.grad, columns @ rows, rtol=1e-5, atol=1e-5)


def test_use_onednn_leaves_names_and_values_of_the_parameters():
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    use_onednn(network)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)

"""The loss against its formula, written out in float64."""

import numpy as np
import pytest
import torch

from rubert_ood.settings import OptimiserSettings
from rubert_ood.training.loss import Loss, class_weights

COUNTS = [400, 90, 10]


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    logits_NC = torch.from_numpy(rng.normal(size=(7, 3)) * 3)
    return logits_NC, torch.from_numpy(rng.integers(0, 3, 7))


def _log_p(logits_NC: torch.Tensor) -> np.ndarray:
    x = logits_NC.numpy()
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def test_loss_without_more_is_the_sum_of_cross_entropies(batch):
    logits_NC, labels_N = batch
    expected = -_log_p(logits_NC)[np.arange(7), labels_N].sum()
    loss = Loss.of(OptimiserSettings().by("notebook"), COUNTS)
    assert float(loss(logits_NC, labels_N)) == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "power"), [("root", 0.5), ("balanced", 1.0)])
def test_loss_weighs_ads_by_class(batch, kind, power):
    logits_NC, labels_N = batch
    weights = (1 / np.array(COUNTS)) ** power
    weights *= 500 / (weights * COUNTS).sum()
    losses_N = -_log_p(logits_NC)[np.arange(7), labels_N]
    loss = Loss.of(OptimiserSettings(class_weights=kind), COUNTS)
    expected = (losses_N * weights[labels_N]).sum()
    assert float(loss(logits_NC, labels_N)) == pytest.approx(expected, rel=1e-6)


def test_class_weights_have_mean_1_over_the_ads():
    for power in (0.5, 1.0):
        weights_C = class_weights(COUNTS, power)
        assert weights_C @ COUNTS == pytest.approx(sum(COUNTS))
        assert (np.diff(weights_C) > 0).all()
    np.testing.assert_allclose(class_weights(COUNTS, 1.0) * COUNTS, 500 / 3)

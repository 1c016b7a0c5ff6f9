"""The weight of margins beside logits, against searches of another kind."""

import numpy as np
import pytest
from scipy.special import log_softmax

from rubert_ood.errors import BundleError
from rubert_ood.ood.mixing import fit_weight

NUM_ADS, NUM_CLASSES = 900, 6


def views(seed: int, sureness: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, margins and labels: two noisy views of the same class; the first of them is
    so much surer than it should be."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(NUM_CLASSES, size=NUM_ADS)
    truth_NC = np.eye(NUM_CLASSES)[labels_N]
    logits_NC = sureness * (2 * truth_NC + rng.normal(size=truth_NC.shape))
    margins_NC = 0.5 * truth_NC - 1 + 0.4 * rng.normal(size=truth_NC.shape)
    return logits_NC.astype(np.float32), margins_NC.astype(np.float32), labels_N


def loss(factor, weight, logits_NC, margins_NC, labels_N) -> float:
    """Return the mean log loss of factor x (logits + weight x margins)."""
    mixed_NC = factor * (logits_NC + weight * margins_NC.astype(np.float64))
    return -log_softmax(mixed_NC, axis=1)[np.arange(len(labels_N)), labels_N].mean()


@pytest.mark.parametrize("sureness", [0.5, 1.0, 4.0])
def test_fit_weight_has_the_least_log_loss_of_a_grid_over_both_factors(sureness):
    logits_NC, margins_NC, labels_N = views(0, sureness)
    weight = fit_weight(logits_NC, margins_NC, labels_N)

    def least(weight: float) -> float:
        factors = np.geomspace(0.1, 10, 200)
        return min(loss(f, weight, logits_NC, margins_NC, labels_N) for f in factors)

    grid = np.linspace(0, 6 * sureness, 61)
    best = grid[np.argmin([least(w) for w in grid])]
    assert weight == pytest.approx(best, abs=grid[1] - grid[0])
    assert least(weight) <= least(best) + 1e-4


def test_fit_weight_grows_with_the_sureness_of_the_logits():
    # the same logits, twice as large, say the same of each class: the share of the margins stays
    once = fit_weight(*views(1, 1.0))
    logits_NC, margins_NC, labels_N = views(1, 1.0)
    assert fit_weight(2 * logits_NC, margins_NC, labels_N) == pytest.approx(
        2 * once, rel=1e-3
    )


def test_fit_weight_of_margins_that_know_nothing_or_the_contrary_is_small_or_none():
    logits_NC, margins_NC, labels_N = views(2, 1.0)
    noise_NC = np.random.default_rng(9).normal(size=margins_NC.shape)
    assert fit_weight(logits_NC, noise_NC, labels_N) < 0.2
    assert fit_weight(logits_NC, -margins_NC, labels_N) == 0


def test_fit_weight_without_a_mistake_ends_at_the_bounds():
    logits_NC = np.eye(3)[[0, 1, 2]] * 9
    assert 0 <= fit_weight(logits_NC, logits_NC, np.arange(3)) <= 1_000


def test_fit_weight_refuses_margins_that_are_not_finite():
    logits_NC, margins_NC, labels_N = views(3, 1.0)
    margins_NC[4, 1] = np.nan
    with pytest.raises(BundleError, match="row 4"):
        fit_weight(logits_NC, margins_NC, labels_N)

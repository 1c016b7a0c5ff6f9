import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from rubert_ood.errors import BundleError, SchemaError, SettingsError
from rubert_ood.ood.metrics import ece
from rubert_ood.ood.temperature import fit_temperature, nll


def _sample(
    seed: int, true_temperature: float, num_ads: int = 4000, num_classes: int = 7
):
    """Labels drawn from softmax(logits / T): T is then the best temperature, up to sampling
    noise."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_ads, num_classes)) * 4
    p = softmax(logits / true_temperature, axis=1)
    labels = (p.cumsum(1) > rng.random((num_ads, 1))).argmax(1)
    return logits, labels


def _direct_nll(logits, labels, t):
    p = softmax(logits / t, axis=1)
    return -np.log(p[np.arange(len(labels)), labels]).mean()


@pytest.mark.parametrize("true_temperature", [0.7, 1.0, 2.5, 6.0])
def test_fit_temperature_agrees_with_a_grid_search(true_temperature):
    logits, labels = _sample(3, true_temperature)
    grid = np.exp(np.linspace(np.log(0.5), np.log(10), 4001))
    best = grid[np.argmin([_direct_nll(logits, labels, t) for t in grid[::10]]) * 10]
    fit = fit_temperature(logits, labels)
    assert fit.temperature == pytest.approx(best, rel=0.01)
    assert fit.nll_after == pytest.approx(
        _direct_nll(logits, labels, fit.temperature), rel=1e-12
    )
    assert (
        fit.nll_after <= min(_direct_nll(logits, labels, t) for t in grid[::50]) + 1e-12
    )
    assert not fit.at_bound


def test_fit_temperature_without_an_error_ends_at_the_lower_bound():
    logits = np.eye(5)[np.arange(50) % 5] * 3.0
    fit = fit_temperature(logits, np.arange(50) % 5)
    assert fit.temperature == 0.5
    assert fit.at_bound
    assert fit.nll_after < fit.nll_before


def test_fit_temperature_of_noise_ends_at_the_upper_bound():
    logits, _ = _sample(1, 1.0)
    fit = fit_temperature(
        logits * 10, np.random.default_rng(0).integers(0, 7, len(logits))
    )
    assert fit.temperature == 10.0
    assert fit.at_bound


def test_fit_temperature_stays_one_when_nothing_improves():
    fit = fit_temperature(np.zeros((10, 3)), np.zeros(10, int))
    assert fit.temperature == 1.0
    assert fit.nll_after == fit.nll_before == pytest.approx(np.log(3))
    assert not fit.at_bound


def test_nll_is_the_mean_over_ads():
    logits, labels = _sample(5, 2.0, num_ads=50)
    assert nll(logits, labels, 1.7) == pytest.approx(
        _direct_nll(logits, labels, 1.7), rel=1e-12
    )


def test_fit_temperature_of_no_rows_is_an_error():
    with pytest.raises(SchemaError, match="no rows"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))


def test_fit_temperature_just_inside_a_bound_is_not_at_it():
    logits, labels = _sample(3, 2.5)
    best = fit_temperature(logits, labels).temperature
    fit = fit_temperature(logits, labels, lower=best * (1 - 5e-5))
    assert fit.temperature == pytest.approx(best, rel=1e-6)
    assert not fit.at_bound


def test_fit_temperature_refuses_unusable_input():
    logits = np.zeros((3, 2))
    with pytest.raises(BundleError, match="row 0"):
        fit_temperature(np.full((3, 2), np.nan), np.zeros(3, int))
    with pytest.raises(SchemaError, match="must lie in 0 to 1"):
        fit_temperature(logits, np.full(3, -1))
    with pytest.raises(SettingsError, match="temperature_min: 3"):
        fit_temperature(logits, np.zeros(3, int), lower=3, upper=2)


def _direct_nll_of_confidence(logits, labels, t):
    p = softmax(logits / t, axis=1)
    return metrics.log_loss(p.argmax(1) == labels, p.max(1))


@pytest.mark.parametrize("true_temperature", [0.7, 1.0, 2.5])
def test_fit_temperature_of_confidence_agrees_with_a_grid_search(true_temperature):
    logits, labels = _sample(5, true_temperature)
    grid = np.exp(np.linspace(np.log(0.5), np.log(10), 2001))
    losses = [_direct_nll_of_confidence(logits, labels, t) for t in grid[::5]]
    fit = fit_temperature(logits, labels, of="confidence")
    assert fit.temperature == pytest.approx(grid[::5][np.argmin(losses)], rel=0.02)
    assert fit.nll_after == pytest.approx(
        _direct_nll_of_confidence(logits, labels, fit.temperature), rel=1e-9
    )
    assert fit.nll_before == pytest.approx(
        _direct_nll_of_confidence(logits, labels, 1.0), rel=1e-9
    )
    assert fit.nll_after <= min(losses) + 1e-9


def test_fit_temperature_of_confidence_is_not_spoiled_by_what_wrong_ads_have():
    """Where an ad is wrong its true class is far down: NLL of the classes lowers all confidence."""
    rng = np.random.default_rng(0)
    num_ads = 6000
    labels = rng.integers(0, 10, num_ads)
    logits = rng.normal(size=(num_ads, 10))
    confidence = rng.choice([0.6, 0.99], num_ads)
    is_right = rng.random(num_ads) < confidence
    best = np.where(is_right, labels, (labels + 1) % 10)
    odds = np.log(confidence / (1 - confidence))
    others = np.log(np.exp(logits).sum(1) - np.exp(logits[np.arange(num_ads), best]))
    logits[np.arange(num_ads), best] = others + odds
    wrong = np.flatnonzero(~is_right)
    logits[wrong, labels[wrong]] -= 6
    gaps = {}
    for of in ("confidence", "classes"):
        t = fit_temperature(logits, labels, of=of).temperature
        gaps[of] = ece(softmax(logits / t, axis=1), labels)
    assert gaps["confidence"] < 0.5 * gaps["classes"]

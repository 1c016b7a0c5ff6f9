"""Each detector against another way to its numbers: loops, scipy, sklearn."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, mahalanobis
from scipy.special import log_softmax
from sklearn.covariance import LedoitWolf

from rubert_ood.errors import BundleError
from rubert_ood.ood.detectors import MAHALANOBIS, energy, fit_detectors, max_logit, msp
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.outputs import Outputs

C, H = 4, 6


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    means_CH = 3 * rng.normal(size=(C, H))
    labels_N = np.repeat(np.arange(C), 60)
    train_NH = (
        means_CH[labels_N] + rng.normal(size=(len(labels_N), H)) * rng.uniform(0.5, 2, H)
    ).astype(np.float32)
    logits_NC, cls_NH = (
        rng.normal(size=(50, C)).astype(np.float32),
        4 * rng.normal(size=(50, H)).astype(np.float32),
    )
    return train_NH, labels_N, logits_NC, cls_NH


@pytest.fixture(scope="module")
def fitted(data):
    train_NH, labels_N, *_ = data
    statistics = fit_mahalanobis(train_NH, labels_N, C)
    train = Outputs(np.zeros((len(train_NH), C)), train_NH, labels_N, _tokens(train_NH))
    return fit_detectors(train, statistics=statistics, temperature=1.7)


def _tokens(cls_NH: np.ndarray) -> np.ndarray:
    """Other features than CLS."""
    return np.roll(cls_NH, 1, axis=1) * 2 + 1


def _of(logits_NC: np.ndarray, cls_NH: np.ndarray) -> Outputs:
    return Outputs.unlabelled(logits_NC, cls_NH, _tokens(cls_NH))


def _precision(residuals_NH: np.ndarray) -> np.ndarray:
    """LedoitWolf, scaled so that the mean squared distance is H."""
    precision = LedoitWolf().fit(residuals_NH).precision_
    return precision * H / np.mean([r @ precision @ r for r in residuals_NH])


def test_detectors_msp_max_logit_and_energy_by_hand(data):
    logits_NC = data[2]
    probabilities = np.exp(log_softmax(logits_NC.astype(float) / 2.5, axis=1))
    np.testing.assert_allclose(
        msp(logits_NC, 2.5), [1 - max(row) for row in probabilities]
    )
    np.testing.assert_allclose(max_logit(logits_NC), [-max(row) for row in logits_NC])
    np.testing.assert_allclose(
        energy(logits_NC, 2.0),
        [-2 * np.log(sum(np.exp(float(x) / 2) for x in row)) for row in logits_NC],
    )
    # energy and softmax: log p_max = max logit - logsumexp, so energy at T = 1 is log p_max - max
    # logit
    log_p = log_softmax(logits_NC.astype(float), axis=1).max(1)
    np.testing.assert_allclose(energy(logits_NC), log_p - logits_NC.max(1))


def test_detectors_mahalanobis_and_relative_mahalanobis_by_hand(data, fitted):
    train_NH, labels_N, logits_NC, cls_NH = data
    x_NH = train_NH.astype(float)
    means = np.array([x_NH[labels_N == c].mean(0) for c in range(C)])
    tied, background = _precision(x_NH - means[labels_N]), _precision(x_NH - x_NH.mean(0))
    d2 = np.array(
        [
            min(mahalanobis(x, mean, tied) ** 2 for mean in means)
            for x in cls_NH.astype(float)
        ]
    )
    d2_0 = np.array(
        [mahalanobis(x, x_NH.mean(0), background) ** 2 for x in cls_NH.astype(float)]
    )
    np.testing.assert_allclose(fitted[MAHALANOBIS](_of(logits_NC, cls_NH)), d2, rtol=1e-9)
    np.testing.assert_allclose(
        fitted["relative Mahalanobis"](_of(logits_NC, cls_NH)), d2 - d2_0, rtol=1e-7
    )


def test_detector_relative_mahalanobis_of_an_ordinary_ad_is_nothing(data, fitted):
    """On train both mean distances are H, so their difference is about 0; with precisions of two
    scales it is not."""
    train_NH, labels_N, logits_NC, _ = data
    own_N = fit_mahalanobis(train_NH, labels_N, C).own_class_distance(train_NH, labels_N)
    relative_N = fitted["relative Mahalanobis"](_of(logits_NC, train_NH))
    # the nearest class need not be the own one
    nearer_N = own_N - fitted[MAHALANOBIS](_of(logits_NC, train_NH))
    assert np.mean(relative_N + nearer_N) == pytest.approx(0, abs=1e-9)


def test_detector_mahalanobis_of_unit_vectors(data, fitted):
    train_NH, labels_N, logits_NC, cls_NH = data
    unit, query = (
        x.astype(float) / np.linalg.norm(x.astype(float), axis=1)[:, None]
        for x in (train_NH, cls_NH)
    )
    means = np.array([unit[labels_N == c].mean(0) for c in range(C)])
    precision = _precision(unit - means[labels_N])
    expected = [min((x - m) @ precision @ (x - m) for m in means) for x in query]
    np.testing.assert_allclose(
        fitted["Mahalanobis++"](_of(logits_NC, cls_NH)), expected, rtol=1e-7
    )
    np.testing.assert_allclose(
        fitted["Mahalanobis++"](_of(logits_NC, 7 * cls_NH)), expected, rtol=1e-5
    )


def test_detector_mahalanobis_of_unit_token_means(data, fitted):
    train_NH, labels_N, logits_NC, cls_NH = data
    train, query = _tokens(train_NH), _tokens(cls_NH)
    statistics = fit_mahalanobis(train, labels_N, C)
    other = fit_detectors(
        Outputs(np.zeros((len(train), C)), train, labels_N),
        statistics=statistics,
        temperature=1.0,
    )
    np.testing.assert_allclose(
        fitted["Mahalanobis++ of tokens"](_of(logits_NC, cls_NH)),
        other["Mahalanobis++"](Outputs.unlabelled(logits_NC, query, query)),
    )
    assert "Mahalanobis++ of tokens" not in other


def test_detector_of_tokens_without_token_means_says_what_to_do(fitted):
    old = Outputs(np.zeros((2, C)), np.ones((2, H)), np.zeros(2, int))
    with pytest.raises(BundleError, match="Train again, or set another detector"):
        fitted["Mahalanobis++ of tokens"](old)


def test_detector_nearest_neighbours_equals_brute_force(data, fitted):
    train_NH, _, logits_NC, cls_NH = data
    unit, query = (
        x / np.linalg.norm(x, axis=1)[:, None]
        for x in (train_NH.astype(float), cls_NH.astype(float))
    )
    expected = np.sort(cdist(query, unit), axis=1)[:, 9]
    np.testing.assert_allclose(
        fitted["10 nearest neighbours"](_of(logits_NC, cls_NH)), expected, atol=1e-6
    )


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_detectors_give_more_to_what_is_further_out(data, fitted, shift):
    """Features far from every class, and logits without a winner, score above those of train."""
    train_NH, labels_N, *_ = data
    sure_NC = 8.0 * np.eye(C)[labels_N]
    for name, detector in fitted.items():
        inside = detector(_of(sure_NC, train_NH))
        far_NH = np.roll(train_NH, 1, axis=1)[::-1] * -1 + shift
        outside = detector(_of(np.full_like(sure_NC, 1.0), far_NH))
        assert np.median(outside) > np.median(inside), name

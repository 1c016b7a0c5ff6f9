"""Class shares by EM, against the maximum of the likelihood found by another method."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from rubert_ood.ood.shares import Posteriors, corrected_shares

MEANS_C = np.array([-1.5, 0.0, 1.0, 2.5])
SOURCE_C = np.array([0.4, 0.3, 0.2, 0.1])


def ads(num: int, share_C: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes of ads on a line, and the exact probabilities for ads with the source shares."""
    rng = np.random.default_rng(seed)
    y_N = rng.choice(4, num, p=share_C)
    x_N = MEANS_C[y_N] + rng.normal(size=num)
    p_NC = SOURCE_C * norm.pdf(x_N[:, None] - MEANS_C)
    return y_N, p_NC / p_NC.sum(axis=1, keepdims=True)


def posteriors(p_NC: np.ndarray, k: int, calibration_nC: np.ndarray) -> Posteriors:
    best_Nk = np.argsort(-p_NC, axis=1)[:, :k]
    return Posteriors.of(best_Nk, np.take_along_axis(p_NC, best_Nk, 1), calibration_nC)


def dense(found: Posteriors) -> np.ndarray:
    return found.known_NC.toarray() + found.left_NC.toarray() @ found.rest_CC


def most_likely(p_NC: np.ndarray, source_C: np.ndarray) -> np.ndarray:
    """Maximise the likelihood of the shares by gradients."""

    def loss(score_C: np.ndarray) -> float:
        share_C = np.exp(score_C) / np.exp(score_C).sum()
        return -float(np.log(p_NC @ (share_C / source_C)).mean())

    score_C = minimize(loss, np.zeros(p_NC.shape[1]), tol=1e-12).x
    return np.exp(score_C) / np.exp(score_C).sum()


@pytest.mark.parametrize("shares", [(0.4, 0.3, 0.2, 0.1), (0.1, 0.2, 0.2, 0.5)])
def test_corrected_shares_are_the_most_likely_ones(shares):
    _, p_NC = ads(2_000, np.array(shares), 1)
    found_CR = corrected_shares(
        posteriors(p_NC, 4, p_NC), SOURCE_C[:, None], np.ones((2_000, 1))
    )
    np.testing.assert_allclose(found_CR[:, 0], most_likely(p_NC, SOURCE_C), atol=1e-3)


@pytest.mark.parametrize("k", [4, 2])
def test_corrected_shares_find_a_planted_shift_that_counting_misses(k):
    planted_C = np.array([0.1, 0.15, 0.45, 0.3])
    y_N, p_NC = ads(20_000, planted_C, 2)
    _, calibration_nC = ads(2_000, SOURCE_C, 3)
    found = posteriors(p_NC, k, calibration_nC)
    found_C = corrected_shares(found, SOURCE_C[:, None], np.ones((20_000, 1)))[:, 0]
    truth_C = np.bincount(y_N) / len(y_N)
    counted_C = np.bincount(p_NC.argmax(axis=1), minlength=4) / len(y_N)
    assert np.abs(counted_C - truth_C).max() > 0.1
    assert np.abs(found_C - truth_C).max() < 0.025


def test_corrected_shares_of_a_quiet_night_are_those_of_the_source():
    _, p_NC = ads(20_000, SOURCE_C, 4)
    found = posteriors(p_NC, 4, p_NC)
    found_C = corrected_shares(found, SOURCE_C[:, None], np.ones((20_000, 1)))[:, 0]
    assert np.abs(found_C - SOURCE_C).max() < 0.02


def test_corrected_shares_of_several_samples_are_those_of_each_alone():
    _, p_NC = ads(500, SOURCE_C, 5)
    found = posteriors(p_NC, 3, p_NC)
    times_NR = np.random.default_rng(6).integers(0, 4, (500, 2))
    source_CR = np.stack([SOURCE_C, SOURCE_C[::-1]], axis=1)
    both_CR = corrected_shares(found, source_CR, times_NR)
    for sample in (0, 1):
        repeated = posteriors(np.repeat(p_NC, times_NR[:, sample], axis=0), 3, p_NC)
        ones = np.ones((times_NR[:, sample].sum(), 1))
        alone_CR = corrected_shares(repeated, source_CR[:, [sample]], ones)
        np.testing.assert_allclose(both_CR[:, sample], alone_CR[:, 0], atol=1e-3)


def test_posteriors_keep_the_best_and_share_the_rest_out_by_calibration_ads():
    _, p_NC = ads(300, SOURCE_C, 7)
    _, calibration_nC = ads(1_000, SOURCE_C, 8)
    found_NC = dense(posteriors(p_NC, 2, calibration_nC))
    best_N2 = np.argsort(-p_NC, axis=1)[:, :2]
    np.testing.assert_allclose(
        np.take_along_axis(found_NC, best_N2, 1), np.take_along_axis(p_NC, best_N2, 1)
    )
    np.testing.assert_allclose(found_NC.sum(axis=1), 1)
    of_best_n = calibration_nC.argmax(axis=1) == best_N2[0, 0]
    kept_nC = calibration_nC[of_best_n]
    rest_C = (kept_nC.sum(axis=0) + calibration_nC.mean(axis=0)) / (len(kept_nC) + 1)
    others = np.setdiff1d(range(4), best_N2[0])
    expected = rest_C[others] / rest_C[others].sum() * (1 - p_NC[0, best_N2[0]].sum())
    np.testing.assert_allclose(found_NC[0, others], expected)
    full_NC = dense(posteriors(p_NC, 4, calibration_nC))
    np.testing.assert_allclose(full_NC, p_NC, atol=1e-12)

"""Tests of two nights: quiet ones, planted changes, known p-values."""

import numpy as np
import pytest
from scipy.stats import fisher_exact

from rubert_ood.ood.two_samples import histogram_test, holm

SHARES = np.array([1, 2, 3, 5, 9, 20, 60]) / 100


def test_histogram_test_of_two_bins_has_the_p_value_of_fisher():
    found = histogram_test(np.array([30, 70]), np.array([45, 55]))
    assert found.p == pytest.approx(fisher_exact([[30, 70], [45, 55]])[1], abs=0.03)
    assert found.difference == pytest.approx(0.15)


def test_histogram_test_sees_one_percent_of_100000_ads_and_no_change_in_200_quiet_nights():
    rng = np.random.default_rng(1)
    before = rng.multinomial(100_000, SHARES)
    changed = 0.99 * SHARES + 0.01 * np.eye(7)[0]
    assert histogram_test(rng.multinomial(100_000, changed), before).p < 0.0005
    alarms = 0
    for _ in range(200):
        older, newer = rng.multinomial(100_000, SHARES, size=2)
        alarms += histogram_test(newer, older).p <= 0.001
    assert alarms <= 2


def test_histogram_test_of_nothing_or_one_bin_finds_nothing():
    assert histogram_test(np.array([0, 0]), np.array([4, 5])).p == 1.0
    assert histogram_test(np.array([9, 0]), np.array([4, 0])).p == 1.0


def test_histogram_test_of_billions_of_ads_is_drawn_from_fewer():
    big = np.array([6, 4]) * 10**9
    assert histogram_test(big, big).p > 0.5
    assert histogram_test(big, np.array([5, 5]) * 10**9).p < 0.001


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

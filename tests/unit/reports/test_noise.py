"""What chance explains, against samples that are drawn many times."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from rubert_ood.reports.noise import distance_noise, rate_noise

DRAWS = 4000


@pytest.mark.parametrize(
    ("share", "num_now", "num_before"), [(0.3, 500, 500), (0.02, 20_000, 4000)]
)
def test_rate_noise_is_seldom_exceeded_by_two_samples_of_one_source(
    share, num_now, num_before
):
    rng = np.random.default_rng(1)
    now = rng.binomial(num_now, share, DRAWS) / num_now
    before = rng.binomial(num_before, share, DRAWS) / num_before
    beyond = np.abs(now - before) > rate_noise(share, num_now, num_before)
    assert beyond.mean() < 0.005
    half = np.abs(now - before) > rate_noise(share, num_now, num_before) / 2
    assert half.mean() > 0.05  # it is not far too wide either


@pytest.mark.parametrize(
    ("num_bins", "num_now", "num_before"),
    [(50, 1000, 1000), (4, 5000, 5000), (20, 900, 4000)],
)
def test_distance_noise_is_seldom_exceeded_by_two_samples_of_one_source(
    num_bins, num_now, num_before
):
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.full(num_bins, 5.0))
    now = rng.multinomial(num_now, shares, DRAWS)
    before = rng.multinomial(num_before, shares, DRAWS)
    distances = jensenshannon(now, before, base=2, axis=1)
    limit = distance_noise(num_bins, num_now, num_before)
    assert (distances > limit).mean() < 0.005
    assert (distances > 0.75 * limit).mean() > 0.01


def test_distance_noise_of_two_ads_is_all_there_is():
    assert distance_noise(50, 1, 1) == 1.0

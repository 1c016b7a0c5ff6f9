"""The drawing has every calibration ad once, and the ad in its place."""

import numpy as np
import pytest

from rubert_ood.ui.flips import Choice, Numbers, outcome
from rubert_ood.ui.histogram import HEIGHT, WIDTH, histogram


def drawn(fitted, d2: float):
    row = Numbers(labels=fitted.labels[:1], scores=[0.5], d2=d2)
    return histogram(outcome(fitted, row, Choice()))


@pytest.mark.parametrize("factor", [0, 1e-6, 0.5, 1, 3, 1e6])
def test_histogram_counts_each_calibration_ad_once(fitted, factor):
    d2_N = fitted.thresholds.calibration_d2
    found = drawn(fitted, factor * d2_N.max())
    assert sum(bar.count for bar in found.bars) == len(d2_N) == found.num_ads
    assert max(bar.height for bar in found.bars) == HEIGHT
    assert found.num_as_far == (d2_N >= factor * d2_N.max()).sum()


def test_histogram_places_the_ad_in_the_bar_of_its_distance(fitted):
    d2_N = fitted.thresholds.calibration_d2
    for d2 in d2_N[::10]:
        found = drawn(fitted, float(d2))
        bar = next(bar for bar in found.bars if bar.low <= d2 < bar.high)
        assert bar.x - 1e-6 <= found.ad_x <= bar.x + bar.width + 1e-6
        assert bar.count > 0


def test_histogram_is_ordered_and_inside_the_drawing(fitted):
    found = drawn(fitted, 1e5)
    assert 0 < found.limit_x < found.ad_x < WIDTH
    assert all(0 <= tick.x <= WIDTH for tick in found.ticks)
    far = [bar.is_beyond for bar in found.bars]
    assert far == sorted(far)
    assert np.isclose(found.bars[-1].x + found.bars[-1].width, WIDTH)

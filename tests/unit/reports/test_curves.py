"""Curves against loops over every threshold. The ROC and PR curves are tested with the evaluation
that shows them."""

import numpy as np
import pytest

from rubert_ood.reports.curves import risk_coverage


@pytest.mark.parametrize("decimals", [1, 8])
def test_risk_curve_is_the_error_rate_among_the_surest_ads(decimals):
    rng = np.random.default_rng(0)
    confidence_N = rng.uniform(0.3, 1, 150).round(decimals)
    correct_N = rng.uniform(size=150) < confidence_N
    result = risk_coverage(confidence_N, correct_N)
    expected, area, before = [], 0.0, 0.0
    for threshold in sorted(set(confidence_N), reverse=True):
        taken_N = confidence_N >= threshold
        expected.append([taken_N.mean(), 1 - correct_N[taken_N].mean()])
        area += (taken_N.mean() - before) * expected[-1][1]
        before = taken_N.mean()
    assert result.aurc == pytest.approx(area)
    points = {tuple(np.round(point, 9)) for point in result.curve}
    assert points <= {tuple(np.round(point, 9)) for point in expected}
    assert len(points) > min(len(expected), 100) / 2
    assert result.curve[-1] == pytest.approx([1, 1 - correct_N.mean()])

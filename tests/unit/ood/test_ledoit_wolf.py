"""The sums against sklearn, which holds all rows at once."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from rubert_ood.errors import SchemaError
from rubert_ood.ood.ledoit_wolf import (
    ClassSums,
    ResidualSums,
    fit_mahalanobis,
    statistics_of,
)

C, H = 6, 32


def _data(num_ads=900, seed=0, scale=1.0, hidden=H):
    """Features on scales from 0.05 to 7, far from the origin, of classes with unequal shares."""
    rng = np.random.default_rng(seed)
    labels_N = np.r_[
        np.arange(C), rng.choice(C, num_ads - C, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    ]
    mix_HH = rng.normal(size=(hidden, hidden)) * np.exp(rng.uniform(-3, 2, hidden))
    means_CH = 30 + 3 * rng.normal(size=(C, hidden))
    return (
        scale * (rng.normal(size=(num_ads, hidden)) @ mix_HH + means_CH[labels_N])
    ).astype(np.float32), labels_N


def _streamed(x_NH, labels_N, cuts):
    batches = list(zip(np.split(x_NH, cuts), np.split(labels_N, cuts), strict=True))
    means_CH = reduce(
        add, [ClassSums.of(*batch, num_classes=C) for batch in batches]
    ).means()
    return statistics_of(
        means_CH,
        reduce(add, [ResidualSums.of(*batch, means_CH=means_CH) for batch in batches]),
    )


def _sklearn(x_NH, labels_N):
    x_NH = x_NH.astype(np.float64)
    means_CH = np.stack([x_NH[labels_N == c].mean(0) for c in range(C)])
    residuals_NH = x_NH - means_CH[labels_N]
    estimate = LedoitWolf().fit(residuals_NH)
    mean_d2 = np.einsum(
        "nh,hk,nk->n", residuals_NH, estimate.precision_, residuals_NH
    ).mean()
    return means_CH, estimate.precision_ * x_NH.shape[1] / mean_d2, estimate.shrinkage_


@pytest.mark.parametrize(
    ("num_ads", "hidden"), [(900, 32), (60, 64), (5000, 16), (40, 1)]
)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_fit_mahalanobis_equals_sklearn(num_ads, hidden, scale):
    """With more rows than features, with fewer, with one feature; in any unit."""
    x_NH, labels_N = _data(num_ads, scale=scale, hidden=hidden)
    means_CH, precision_HH, shrinkage = _sklearn(x_NH, labels_N)
    ours = _streamed(x_NH, labels_N, [7, 8, num_ads // 2])
    np.testing.assert_allclose(ours.means_CH, means_CH, rtol=1e-12)
    assert ours.shrinkage == pytest.approx(shrinkage, rel=1e-8)
    np.testing.assert_allclose(
        ours.precision_HH, precision_HH, rtol=1e-8, atol=1e-8 * abs(precision_HH).max()
    )


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 300), max_size=12), st.integers(0, 100))
def test_fit_mahalanobis_in_batches_of_any_size_gives_the_same(cuts, seed):
    """Also empty ones, and ones without some of the classes."""
    x_NH, labels_N = _data(300, seed=seed)
    ours, whole = (
        _streamed(x_NH, labels_N, sorted(cuts)),
        fit_mahalanobis(x_NH, labels_N, C),
    )
    assert ours.shrinkage == pytest.approx(whole.shrinkage, rel=1e-9)
    np.testing.assert_allclose(
        ours.precision_HH, whole.precision_HH, rtol=1e-9, atol=1e-11
    )


def test_fit_mahalanobis_distances_do_not_depend_on_the_unit():
    x_NH, labels_N = _data()
    one, other = (
        fit_mahalanobis(x_NH, labels_N, C),
        fit_mahalanobis(x_NH * np.float32(2**-20), labels_N, C),
    )
    np.testing.assert_allclose(
        other.distance(x_NH * 2**-20)[0], one.distance(x_NH)[0], rtol=1e-6
    )


def test_fit_mahalanobis_of_features_that_depend_on_each_other():
    """A layer norm leaves such a pair in every CLS vector; with many rows hardly anything is
    shrunk."""
    rng = np.random.default_rng(5)
    x_NH = rng.normal(size=(20_000, 8))
    x_NH[:, 7] = -x_NH[:, :7].sum(axis=1)
    labels_N = np.arange(20_000) % C
    statistics = fit_mahalanobis(x_NH, labels_N, C)
    assert np.isfinite(statistics.distance(x_NH)[0]).all()
    assert statistics.own_class_distance(x_NH, labels_N).mean() == pytest.approx(8)
    ours_N = statistics.own_class_distance(x_NH, labels_N)
    np.testing.assert_allclose(ours_N, _independent(x_NH[:, :7], labels_N), rtol=0.01)


def _independent(x_NH, labels_N):
    """Mahalanobis distance in the seven free dimensions, on the scale of eight."""
    r_NH = x_NH - np.stack([x_NH[labels_N == c].mean(0) for c in range(C)])[labels_N]
    d2_N = np.einsum("nh,hk,nk->n", r_NH, np.linalg.inv(np.cov(r_NH.T)), r_NH)
    return 8 * d2_N / d2_N.mean()


def test_fit_mahalanobis_of_rows_that_shrink_by_nothing_has_a_precision():
    """Residuals of +v and -v alone: the estimate is exact, sklearn's shrinkage is 0 and its
    covariance singular."""
    v_H = np.arange(1.0, 5.0)
    x_NH = np.stack([v_H, -v_H] * 20)
    statistics = fit_mahalanobis(x_NH, np.zeros(40, int), 1)
    assert statistics.shrinkage == pytest.approx(0, abs=1e-12)
    # MIN_SHRINKAGE leaves a condition of 1e10: ten of sixteen digits may go
    assert statistics.distance(x_NH)[0].mean() == pytest.approx(4, rel=1e-5)


def test_fit_mahalanobis_of_a_class_of_one_row_takes_it_as_mean():
    x_NH, labels_N = _data()
    labels_N[labels_N == 5] = 0
    labels_N[17] = 5
    statistics = fit_mahalanobis(x_NH, labels_N, C)
    np.testing.assert_allclose(statistics.means_CH[5], x_NH[17])
    assert statistics.distance(x_NH[17:18]) == (pytest.approx(0), 5)


def test_fit_mahalanobis_names_unusable_rows():
    x_NH, labels_N = _data()
    with pytest.raises(SchemaError, match="no training rows to fit"):
        ClassSums.of(x_NH[:0], labels_N[:0], num_classes=C).means()
    with pytest.raises(
        SchemaError, match=r"class number 4 has no training rows \(2 classes in all\)"
    ):
        ClassSums.of(x_NH, labels_N % 4, num_classes=C).means()
    with pytest.raises(
        SchemaError, match="features have 900 rows, but there are 3 labels"
    ):
        ClassSums.of(x_NH, labels_N[:3], num_classes=C)

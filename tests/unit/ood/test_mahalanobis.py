import tracemalloc

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from rubert_ood.errors import BundleError, SchemaError
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.mahalanobis import MahalanobisStatistics


def _features(seed=0, num_ads=600, num_classes=5, hidden=24, shift=30.0):
    """Correlated features, far from the origin, on very different scales: what a [CLS] vector looks
    like."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(hidden, hidden)) * np.exp(rng.uniform(-3, 2, hidden))
    labels = np.arange(num_ads) % num_classes
    means = rng.normal(size=(num_classes, hidden)) * 3 + shift
    return rng.normal(size=(num_ads, hidden)) @ mix + means[labels], labels


def _notebook_d2(x, labels, queries):
    """The notebook's way: one quadratic form per class, the smallest wins."""
    classes = np.unique(labels)
    means = np.stack([x[labels == c].mean(0) for c in classes])
    residuals = x - means[labels]
    precision = LedoitWolf().fit(residuals).precision_
    precision = precision * (x.shape[1] / np.mean([r @ precision @ r for r in residuals]))
    return np.stack(
        [np.einsum("nh,hk,nk->n", queries - m, precision, queries - m) for m in means]
    ).T, precision


def test_mahalanobis_distance_equals_the_direct_quadratic_form():
    x, labels = _features()
    queries = np.concatenate([x[:50], _features(1, 50)[0] + 100, x[:5] * 1000])
    direct, precision = _notebook_d2(x, labels, queries)
    statistics = fit_mahalanobis(x, labels, 5)
    d2, nearest = statistics.distance(queries)
    np.testing.assert_allclose(
        statistics.precision_HH, precision, rtol=1e-9, atol=1e-12 * abs(precision).max()
    )
    np.testing.assert_allclose(d2, direct.min(1), rtol=1e-9)
    np.testing.assert_array_equal(nearest, direct.argmin(1))


def test_mahalanobis_mean_d2_of_train_to_its_own_class_is_h():
    x, labels = _features()
    statistics = fit_mahalanobis(x, labels, 5)
    residuals = x - statistics.means_CH[labels]
    mean = np.mean([r @ statistics.precision_HH @ r for r in residuals])
    assert mean == pytest.approx(x.shape[1], rel=1e-6)


def test_mahalanobis_distance_in_chunks_is_the_same():
    x, labels = _features()
    statistics = fit_mahalanobis(x, labels, 5)
    whole, one = statistics.distance(x), statistics.distance(x, chunk_rows=1)
    np.testing.assert_allclose(whole[0], one[0], rtol=1e-12)
    np.testing.assert_array_equal(whole[1], one[1])


def test_mahalanobis_of_rank_deficient_features_shrinks():
    x, labels = _features(num_ads=20, hidden=64)
    d2, _ = fit_mahalanobis(x, labels, 5).distance(x)
    assert np.isfinite(d2).all()
    assert (d2 >= 0).all()


def test_mahalanobis_distance_of_no_ads_is_empty():
    x, labels = _features()
    d2, nearest = fit_mahalanobis(x, labels, 5).distance(np.zeros((0, 24), np.float32))
    assert d2.shape == nearest.shape == (0,)
    assert d2.dtype == np.float64


def test_mahalanobis_distance_needs_less_memory_than_n_by_c_by_h():
    num_ads, num_classes, hidden = 20_000, 50, 64
    rng = np.random.default_rng(0)
    statistics = MahalanobisStatistics(
        rng.normal(size=(num_classes, hidden)), np.eye(hidden), 0.0
    )
    x = rng.normal(size=(num_ads, hidden)).astype(np.float32)
    tracemalloc.start()
    statistics.distance(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < num_ads * num_classes * hidden * 8 / 10


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda x, y: (np.where(np.arange(len(x))[:, None] == 3, np.nan, x), y),
            SchemaError,
            "not finite",
        ),
        (lambda x, y: (x, np.where(y == 2, 1, y)), SchemaError, "class number 2 has no"),
    ],
)
def test_mahalanobis_fit_names_unusable_training_rows(change, error, message):
    with pytest.raises(error, match=message):
        fit_mahalanobis(*change(*_features()), 5)


def test_mahalanobis_distance_of_a_wrong_width_names_both_sizes():
    x, labels = _features()
    with pytest.raises(BundleError, match=r"\(3, 7\).*H = 24"):
        fit_mahalanobis(x, labels, 5).distance(np.zeros((3, 7)))


def test_mahalanobis_precision_matrix_that_is_not_one_is_refused():
    with pytest.raises(BundleError, match="positive definite"):
        MahalanobisStatistics(np.zeros((2, 2)), np.diag([1.0, -1.0]), 0.0).distance(
            np.zeros((1, 2))
        )
    with pytest.raises(BundleError, match="NaN or infinite"):
        MahalanobisStatistics(np.zeros((2, 2)), np.full((2, 2), np.nan), 0.0)
    with pytest.raises(BundleError, match="H = 2"):
        MahalanobisStatistics(np.zeros((2, 2)), np.eye(3), 0.0)


def test_mahalanobis_distance_tells_twin_classes_far_from_a_third_apart():
    rng = np.random.default_rng(0)
    base = rng.normal(size=16)
    twin = 1e-3 * rng.normal(size=16)
    means = np.stack([base + twin, base, base - twin, base + 1e6])
    x = base + 1e-2 * rng.normal(size=(300, 16))
    direct = ((x[:, None] - means) ** 2).sum(2)
    d2, nearest = MahalanobisStatistics(means, np.eye(16), 0.0).distance(x)
    np.testing.assert_allclose(d2, direct.min(1), rtol=1e-9)
    np.testing.assert_array_equal(nearest, direct.argmin(1))


def test_mahalanobis_distance_names_a_row_that_is_not_finite_across_chunks():
    x, labels = _features()
    statistics = fit_mahalanobis(x, labels, 5)
    x[7, 2] = np.inf
    with pytest.raises(BundleError, match="row 7 "):
        statistics.distance(x, chunk_rows=4)


@pytest.mark.parametrize("labels", [np.arange(20) % 6, np.arange(20) % 6 - 1])
def test_mahalanobis_fit_refuses_labels_outside_the_classes(labels):
    with pytest.raises(SchemaError, match="must lie in 0 to 4"):
        fit_mahalanobis(np.random.default_rng(0).normal(size=(20, 3)), labels, 5)


def test_mahalanobis_fit_refuses_ads_that_equal_their_class_mean():
    with pytest.raises(SchemaError, match="no covariance"):
        fit_mahalanobis(np.eye(4), np.arange(4), 4)


def test_mahalanobis_statistics_with_a_bad_precision_matrix_are_refused():
    for precision, message in (
        (np.diag([1.0, -1.0]), "positive definite"),
        (np.triu(np.ones((2, 2))), "symmetric"),
    ):
        with pytest.raises(BundleError, match=message):
            MahalanobisStatistics(np.zeros((2, 2)), precision, 0.0)

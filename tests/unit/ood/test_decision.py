import math

import numpy as np
import pytest

from rubert_ood.errors import BundleError, SchemaError, SettingsError
from rubert_ood.ood.conformal import conformal_p
from rubert_ood.ood.decision import (
    Thresholds,
    can_flag,
    check_rule,
    decide,
    fit_thresholds,
    rows_for,
)
from rubert_ood.ood.limits import d2_limit
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.settings import DecisionSettings

LABELS = ["А", "Б", "В", "Г"]
STATISTICS = MahalanobisStatistics(np.zeros((4, 1)), np.eye(1), 0.0)  # d2 = x * x


def _decide(logits, d2, *, temperature=1.0, thresholds=None, **settings):
    thresholds = thresholds or Thresholds(10.0, 5.0, 2.0, np.arange(10.0))
    cls = np.sqrt(np.asarray(d2, float))[:, None]
    return decide(
        np.asarray(logits, float).reshape(len(cls), 4),
        cls,
        labels=LABELS,
        temperature=temperature,
        statistics=STATISTICS,
        thresholds=thresholds,
        settings=DecisionSettings(**settings),
    )


def test_decide_agrees_with_the_rule_written_out_ad_by_ad():
    rng = np.random.default_rng(0)
    logits, d2 = rng.normal(size=(500, 4)) * 2, rng.uniform(0, 40, 500)
    calibration = np.sort(rng.uniform(0, 20, 99))
    thresholds = Thresholds(9.0, 5.0, 1.5, calibration)
    got = _decide(logits, d2, temperature=1.7, thresholds=thresholds)
    num_ood = 0
    for i in range(500):
        e = [math.exp(v / 1.7) for v in logits[i]]
        p = [v / sum(e) for v in e]
        best = sorted(range(4), key=lambda c: (-p[c], c))
        z = (d2[i] - 5.0) / (1.5 + 1e-9)
        ood = d2[i] > 1.10 * 9.0 and z > 4.0 and max(p) < 0.75
        num_ood += ood
        assert got.is_ood_N[i] == ood
        assert got.label_N[i] == (
            LABELS[best[0]] if not ood and max(p) >= 0.35 else "Other"
        )
        assert got.predicted_N[i] == best[0]
        assert got.topk_labels_Nk[i].tolist() == [LABELS[c] for c in best]
        np.testing.assert_allclose(
            got.topk_scores_Nk[i], [p[c] for c in best], rtol=1e-12
        )
        assert got.confidence_N[i] == pytest.approx(max(p), rel=1e-12)
        assert got.ood_z_N[i] == pytest.approx(z, rel=1e-9, abs=1e-12)
        assert got.ood_distance_N[i] == pytest.approx(d2[i], rel=1e-12)
        assert (
            got.ood_p_N[i]
            == (1 + sum(c >= got.ood_distance_N[i] for c in calibration)) / 100
        )
    assert 50 < num_ood < 450


FLAT = [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("d2", "settings", "ood"),
    [
        (16.0, {"alpha": 1.6, "z_thr": 0}, False),  # exactly at alpha * threshold
        (16.0, {"alpha": 1.5, "z_thr": 0}, True),
        (
            16.0,
            {"alpha": 1.0, "z_thr": 5.5},
            False,
        ),  # z just below 5.5: sigma has 1e-9 added
        (16.0, {"alpha": 1.0, "z_thr": 5.4999}, True),
        (
            16.0,
            {"alpha": 1.0, "z_thr": 0, "ood_conf_gate": 0.25},
            False,
        ),  # exactly at the gate
        (16.0, {"alpha": 1.0, "z_thr": 0, "ood_conf_gate": 0.2501}, True),
    ],
)
def test_decide_takes_every_threshold_as_strict(d2, settings, ood):
    assert _decide([FLAT], [d2], **settings).is_ood_N.tolist() == [ood]


def test_decide_trusts_a_confidence_at_tau_other():
    assert _decide([FLAT], [0.0], tau_other=0.25).label_N.tolist() == ["А"]
    assert _decide([FLAT], [0.0], tau_other=0.2501).label_N.tolist() == ["Other"]


def test_decide_gives_ties_to_the_smaller_class_number_and_cuts_top_k():
    got = _decide([[1, 2, 2, 0]], [0.0], top_k=3)
    assert got.topk_labels_Nk.tolist() == [["Б", "В", "А"]]
    assert _decide([FLAT], [0.0], top_k=9).topk_labels_Nk.shape == (1, 4)


def test_decide_on_no_ads_gives_empty_arrays():
    got = _decide(np.zeros((0, 4)), [])
    assert got.label_N.shape == got.is_ood_N.shape == got.ood_p_N.shape == (0,)
    assert got.topk_scores_Nk.shape == (0, 4)


def test_fit_thresholds_are_quantile_mean_and_deviation():
    d2 = np.random.default_rng(0).uniform(0, 9, 801)
    got = fit_thresholds(d2, quantile=0.995)
    ordered = sorted(d2)
    assert got.threshold == pytest.approx(ordered[796], rel=1e-12)  # 0.995 * 800 = 796
    assert got.mu == pytest.approx(sum(d2) / 801)
    assert got.sigma == pytest.approx(math.sqrt(sum((v - got.mu) ** 2 for v in d2) / 800))
    assert got.calibration_d2.tolist() == ordered
    with pytest.raises(SchemaError, match="there are 1"):
        fit_thresholds(np.ones(1))


def test_conformal_p_counts_ties():
    calibration = np.array([1.0, 2.0, 2.0, 3.0])
    assert conformal_p(np.array([0.0, 2.0, 3.0, 3.1]), calibration).tolist() == [
        1.0,
        0.8,
        0.4,
        0.2,
    ]


@pytest.mark.parametrize(
    ("logits", "cls", "message"),
    [
        (np.zeros((2, 4)), np.zeros((3, 1)), "logits have 2 rows, but features have 3"),
        (np.zeros((2, 3)), np.zeros((2, 1)), "4 labels"),
        (np.zeros((2, 5)), np.zeros((2, 1)), "4 labels"),
        (np.array([[0.0] * 4, [np.nan] * 4]), np.zeros((2, 1)), "logits of row 1"),
        (np.zeros((2, 4)), np.array([[0.0], [np.nan]]), "features of row 1"),
    ],
)
def test_decide_refuses_arrays_that_do_not_fit(logits, cls, message):
    with pytest.raises(BundleError, match=message):
        decide(
            logits,
            cls,
            labels=LABELS,
            temperature=1.0,
            statistics=STATISTICS,
            thresholds=Thresholds(10.0, 5.0, 2.0, np.arange(10.0)),
            settings=DecisionSettings(),
        )


def test_thresholds_that_would_misjudge_are_refused():
    with pytest.raises(BundleError, match="ascending"):
        Thresholds(1.0, 1.0, 1.0, np.array([3.0, 1.0]))
    with pytest.raises(BundleError, match="finite"):
        fit_thresholds([1.0, np.nan, 2.0])


def test_the_conformal_rule_counts_calibration_rows_that_are_as_far():
    rng = np.random.default_rng(1)
    calibration, d2 = np.sort(rng.uniform(0, 20, 99)), rng.uniform(15, 25, 300)
    thresholds = Thresholds(9.0, 5.0, 1.5, calibration)
    logits = rng.normal(size=(300, 4)) * 2
    got = _decide(
        logits, d2, thresholds=thresholds, rule="conformal", conformal_alpha=0.05
    )
    assert 0 < got.is_far_N.sum() < 300
    for i in range(300):
        far = (1 + sum(c >= got.ood_distance_N[i] for c in calibration)) / 100 <= 0.05
        assert got.is_far_N[i] == far
        assert got.is_ood_N[i] == (far and got.confidence_N[i] < 0.75)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_the_conformal_rule_bounds_false_alarms_on_ads_like_the_calibration_rows(alpha):
    """Heavy-tailed distances, cut into calibration and new ads 600 times: the mean rate is alpha
    or just below."""
    rng = np.random.default_rng(int(1000 * alpha))
    num_calibration, num_new, rates = 199, 50, []
    for _ in range(600):
        d2 = rng.permutation(rng.pareto(1.5, num_calibration + num_new))
        thresholds = fit_thresholds(d2[:num_calibration])
        decisions = _decide(
            [FLAT] * num_new,
            d2[num_calibration:],
            thresholds=thresholds,
            rule="conformal",
            conformal_alpha=alpha,
        )
        rates.append(decisions.is_far_N.mean())
    error = np.std(rates) / len(rates) ** 0.5
    assert (
        alpha - 1 / (num_calibration + 1) - 4 * error
        <= np.mean(rates)
        <= alpha + 4 * error
    )


@pytest.mark.parametrize("rule", ["notebook", "conformal"])
def test_decision_limit_is_where_far_begins(rule):
    rng = np.random.default_rng(2)
    thresholds = fit_thresholds(rng.gamma(4, 30, 400))
    for alpha, z_thr in ((1.1, 1.0), (0.5, 2.5)):
        settings = DecisionSettings(
            rule=rule, conformal_alpha=alpha / 50, alpha=alpha, z_thr=z_thr
        )
        limit = d2_limit(settings, thresholds)
        d2 = np.array([limit * (1 - 1e-6), limit * (1 + 1e-6)])
        far = _decide(
            [FLAT] * 2, d2, thresholds=thresholds, **settings.model_dump()
        ).is_far_N
        assert far.tolist() == [False, True]


def test_check_rule_refuses_one_that_can_flag_nothing():
    settings = DecisionSettings(rule="conformal", conformal_alpha=0.01)
    check_rule(settings, 99)
    with pytest.raises(
        SettingsError,
        match=(
            r"conformal_alpha: 0\.01 needs at least 99 calibration rows, and there"
            " are 98"
        ),
    ):
        check_rule(settings, 98)
    check_rule(DecisionSettings(), 2)


def test_rule_can_flag_what_is_as_small_as_the_smallest_p_of_any_number_of_rows():
    for num_rows in range(1, 3_000):
        alpha = 1 / (num_rows + 1)
        settings = DecisionSettings(rule="conformal", conformal_alpha=alpha)
        smallest = conformal_p(np.array([np.inf]), np.arange(num_rows, dtype=float))
        assert can_flag(settings, num_rows) == (smallest[0] <= alpha)
        check_rule(settings, num_rows)
        assert not can_flag(settings, num_rows - 1)
        assert rows_for(alpha) == num_rows
        assert rows_for(np.nextafter(alpha, 0)) == num_rows + 1
        assert rows_for(np.nextafter(alpha, 1)) == num_rows

"""What becomes of the classes of a tuning: own limits, the pool, and what is said of them."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.ood.decision import fit_thresholds
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.promised import Rows
from rubert_ood.ood.temperature import TemperatureFit
from rubert_ood.settings import DecisionSettings, TuneSettings
from rubert_ood.training.class_limits import say_class_limits, with_class_limits
from rubert_ood.training.promising import choose

SHARES_C = np.array([0.5, 0.3, 0.1, 0.06, 0.04])
CONFORMAL = DecisionSettings(rule="conformal", conformal_alpha=0.05, ood_conf_gate=1.01)
LABELS = ["Гаражи", "Книги", "Кошки", "Обувь", "Шины"]


def asked(**changes) -> TuneSettings:
    given = {"bundle_uri": "b", "input_uri": "ads.parquet", "per_class": True}
    return TuneSettings(**(given | changes))


def outputs(num: int, seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    labels_N = rng.choice(5, num, p=SHARES_C)
    scale_N = np.array([1.0, 4.0, 1.0, 2.0, 3.0])[labels_N]
    return Outputs(
        np.eye(5)[labels_N] * 9, scale_N[:, None] * rng.normal(size=(num, 1)), labels_N
    )


CALIBRATION = outputs(1_000, 0)


def fitted(decision: DecisionSettings = CONFORMAL) -> FittedModel:
    return FittedModel(
        LABELS,
        TemperatureFit(1.0, 1.0, 1.0, False),
        MahalanobisStatistics(np.zeros((5, 1)), np.eye(1), 0.0),
        fit_thresholds(CALIBRATION.cls_NH[:, 0] ** 2),
        decision,
    )


def test_limits_of_classes_keep_alpha_in_each_where_one_limit_does_not():
    model = with_class_limits(fitted(), CALIBRATION, SHARES_C, asked())
    limits = model.thresholds.by_class
    assert limits.is_pooled_C.tolist() == [False] * 5  # 19 rows make a p of 0.05
    new = outputs(40_000, 1)
    shares = []
    for one in (model, fitted()):
        decided = one.decide(new)
        far_N, classes_N = decided.is_far_N, decided.predicted_N
        shares.append([far_N[classes_N == c].mean() for c in range(5)])
    assert np.max(shares[0]) < 0.1
    assert shares[1][1] > 0.12
    assert shares[1][0] < 0.001 < shares[0][0]


def test_small_classes_share_a_limit_and_are_named(caplog):
    small = CONFORMAL.model_copy(update={"conformal_alpha": 0.01})
    model = with_class_limits(fitted(small), CALIBRATION, SHARES_C, asked())
    limits = model.thresholds.by_class
    assert limits.is_pooled_C.tolist() == [False, False, True, True, True]
    with caplog.at_level(logging.INFO):
        say_class_limits(model)
        say_class_limits(fitted())
    pooled = np.isin(CALIBRATION.labels_N, [2, 3, 4]).sum()
    assert len(caplog.records) == 2
    assert "2 classes with a limit of their own" in caplog.text
    shared = f"share a limit, with {pooled} ads together: Кошки, Обувь, Шины"
    assert shared in caplog.text


def test_classes_that_flag_nothing_are_warned_of(caplog):
    """More of a class were expected than there are."""
    shares_C = np.array([0.2, 0.2, 0.2, 0.2, 0.2])
    small = CONFORMAL.model_copy(update={"conformal_alpha": 0.01})
    model = with_class_limits(fitted(small), CALIBRATION, shares_C, asked())
    with caplog.at_level(logging.WARNING):
        say_class_limits(model)
    assert "too few ads: Обувь, Шины. Add ads" in caplog.text


def test_a_promise_of_each_class_shares_the_risk_among_the_limits():
    settings = asked(max_flagged=0.1, confidence=0.9)
    model = with_class_limits(fitted(), CALIBRATION, SHARES_C, settings)
    rows = Rows(CALIBRATION, None)
    tuned = choose(model, rows, Rows(outputs(500, 2), None), settings)
    (promise,) = tuned.promises
    assert (promise.kind, promise.num_rows) == ("flagged_per_class", 1_000)
    decided = tuned.decide(CALIBRATION)
    assert promise.num_against == decided.is_far_N.sum()
    new = outputs(40_000, 3)
    decided = tuned.decide(new)
    assert model.thresholds.by_class.is_pooled_C.tolist() == [False] * 3 + [True] * 2
    for group in ([0], [1], [2], [3, 4]):
        assert decided.is_far_N[np.isin(decided.predicted_N, group)].mean() <= 0.1
    assert tuned.thresholds.by_class is model.thresholds.by_class


def test_limits_that_no_class_can_have_or_of_another_rule_are_refused():
    tiny = CONFORMAL.model_copy(update={"conformal_alpha": 0.001})
    with pytest.raises(SettingsError, match=r"needs 1,499 of the 1,000 ads in one half"):
        with_class_limits(fitted(tiny), CALIBRATION, SHARES_C, asked())
    notebook = replace(fitted(), decision=DecisionSettings())
    with pytest.raises(SettingsError, match="the bundle has the notebook rule"):
        with_class_limits(notebook, CALIBRATION, SHARES_C, asked())

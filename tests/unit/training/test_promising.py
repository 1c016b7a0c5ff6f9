"""Which rows test a promise, and what a bound on flagged ads makes of the rule, in many draws."""

import logging

import numpy as np
import pytest
from scipy.stats import binom

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ads.extra_texts import ExtraTexts
from rubert_ood.errors import SettingsError
from rubert_ood.ood.conformal import conformal_p
from rubert_ood.ood.decision import check_rule, fit_thresholds
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.limits import d2_limit
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.promised import Rows
from rubert_ood.ood.temperature import TemperatureFit
from rubert_ood.ood.tuning import Measures
from rubert_ood.settings import DecisionSettings, TuneSettings
from rubert_ood.training.promising import (
    ads_needed,
    choose,
    each_text_once,
    promised_rule,
    rows_to_choose_on,
)
from rubert_ood.training.tuning import halves

NO_TEXTS = ExtraTexts([], {})
CONFORMAL = DecisionSettings(rule="conformal", ood_conf_gate=1.01)


def asked(**changes) -> TuneSettings:
    return TuneSettings(**{"bundle_uri": "b", "input_uri": "ads.parquet", **changes})


def labelled(texts: list[str], labels: list[int] | None = None) -> LabelledAds:
    return LabelledAds(texts, np.array(labels or [0] * len(texts)))


def outputs(num: int, seed: int = 0) -> Outputs:
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, 2, num)
    logits_NC = np.eye(2)[labels_N] * 3 + rng.normal(size=(num, 2))
    return Outputs(logits_NC, rng.normal(size=(num, 1)), labels_N)


def fitted(decision: DecisionSettings, calibration: Outputs) -> FittedModel:
    return FittedModel(
        ["а", "б"],
        TemperatureFit(1.0, 1.0, 1.0, False),
        MahalanobisStatistics(np.zeros((2, 1)), np.eye(1), 0.0),
        fit_thresholds(calibration.cls_NH[:, 0] ** 2),
        decision,
    )


def test_each_text_counts_once_and_what_is_left_out_is_counted(caplog):
    ads = labelled(["стол", "стул", "стол", "шкаф", "стул", "стол"], [0, 1, 2, 3, 4, 5])
    extra = ExtraTexts(
        [], {"ood/код": labelled(["x", "x"]), "hard_cases": labelled(["a", "a"])}
    )
    with caplog.at_level(logging.WARNING):
        found, left = each_text_once(ads, extra)
    assert (found.texts, found.labels_N.tolist()) == (["стол", "стул", "шкаф"], [0, 1, 3])
    assert left.splits["ood/код"].texts == ["x"]
    assert left.splits["hard_cases"].texts == ["a", "a"]
    assert "leaves out 4 rows with the text of another" in caplog.text
    caplog.clear()
    assert each_text_once(found, NO_TEXTS)[0].texts == found.texts
    assert caplog.text == ""


def test_text_of_two_kinds_counts_in_the_first_and_an_emptied_kind_is_left_out(caplog):
    kinds = {"ood/код": ["x", "y"], "ood/шум": ["z", "y"], "ood/копия": ["x", "z"]}
    splits = {name: labelled(texts) for name, texts in kinds.items()}
    _, left = each_text_once(labelled(["стол"]), ExtraTexts([], splits))
    found = {name: split.texts for name, split in left.splits.items()}
    assert found == {"ood/код": ["x", "y"], "ood/шум": ["z"]}
    assert "leaves out 3 rows with the text of another" in caplog.text


def test_halves_that_promise_are_random_not_split_by_class():
    ads = labelled([str(n) for n in range(400)], [0, 1] * 200)
    measured = halves(ads, asked(min_precision=0.9))
    assert np.bincount(measured["test"].labels_N).tolist() == [100, 100]
    counts = []
    for seed in range(20):
        settings = asked(min_precision=0.9, confidence=0.9, seed=seed)
        counts.append(np.bincount(halves(ads, settings)["test"].labels_N)[0])
    assert len(set(counts)) > 5
    assert np.mean(counts) == pytest.approx(100, abs=4)


def test_rows_that_order_and_rows_that_test_share_no_ood_text():
    parts = {"calibration": outputs(30), "test": outputs(20, 1)}
    ood = Outputs(np.zeros((9, 2)), np.arange(9.0)[:, None], np.full(9, -1))
    parts |= {"ood/а": ood.take(np.arange(4)), "ood/б": ood.take(np.arange(4, 9))}
    settings = asked(min_precision=0.9, confidence=0.9)
    order, test = rows_to_choose_on(parts, settings)
    assert (order.ads, test.ads) == (parts["calibration"], parts["test"])
    numbers = [rows.ood.cls_NH[:, 0].tolist() for rows in (order, test)]
    assert sorted(numbers[0] + numbers[1]) == list(range(9))
    assert [len(rows) for rows in numbers] == [5, 4]
    _, all_choose = rows_to_choose_on(parts, asked(min_precision=0.9))
    assert len(all_choose.ood) == 9
    del parts["ood/а"], parts["ood/б"]
    assert rows_to_choose_on(parts, settings)[1].ood is None


@pytest.mark.parametrize(("num_calibration", "limit"), [(300, 0.02), (1000, 0.05)])
def test_a_bound_on_flagged_ads_is_missed_in_at_most_5_percent_of_1000_draws(
    num_calibration, limit
):
    """The true share beyond a limit is known, since the distances are uniform."""
    rng = np.random.default_rng(num_calibration)
    settings = asked(max_flagged=limit, confidence=0.95)
    alpha = promised_rule(CONFORMAL, settings, num_calibration).conformal_alpha
    shares = {"promised": [], "marginal": []}
    for _ in range(1_000):
        thresholds = fit_thresholds(rng.random(num_calibration))
        for name, share in (("promised", alpha), ("marginal", limit)):
            rule = CONFORMAL.model_copy(update={"conformal_alpha": share})
            shares[name].append(1 - d2_limit(rule, thresholds))
    shares = {name: np.array(found) for name, found in shares.items()}
    assert np.mean(shares["promised"] > limit) <= 0.05
    assert np.mean(shares["promised"]) > limit / 4  # it does flag
    assert (
        np.mean(shares["marginal"] > limit) > 0.3
    )  # what the conformal rule says is a mean
    assert np.mean(shares["marginal"]) <= limit * 1.02


def test_a_promised_rule_is_that_of_the_exact_bound():
    settings = asked(max_flagged=0.02, confidence=0.95)
    alpha = promised_rule(CONFORMAL, settings, 500).conformal_alpha
    allowed = round(alpha * 501) - 1
    assert binom.cdf(allowed, 500, 0.02) <= 0.05 < binom.cdf(allowed + 1, 500, 0.02)
    both = asked(max_flagged=0.02, min_precision=0.9, confidence=0.95)
    assert promised_rule(CONFORMAL, both, 500).conformal_alpha < alpha
    assert promised_rule(CONFORMAL, asked(), 5) == CONFORMAL


def test_a_bound_that_so_few_ads_cannot_show_or_on_another_rule_is_refused():
    settings = asked(max_flagged=0.02, confidence=0.95)
    with pytest.raises(SettingsError, match=r"at least 298 labelled ads, half .* 148 "):
        promised_rule(CONFORMAL, settings, 148)
    assert promised_rule(CONFORMAL, settings, 149).conformal_alpha == 1 / 150
    with pytest.raises(SettingsError, match="the bundle has the notebook rule"):
        promised_rule(DecisionSettings(), settings, 1000)
    combined = DecisionSettings(rule="conformal", detector="combined")
    with pytest.raises(SettingsError, match="not proven for the detector combined"):
        promised_rule(combined, settings, 1000)


def test_both_promises_are_kept_by_one_decision():
    settings = asked(max_flagged=0.05, min_precision=0.8, confidence=0.9)
    calibration, test = outputs(400), outputs(400, 1)
    model = fitted(promised_rule(CONFORMAL, settings, 400), calibration)
    tuned = choose(model, Rows(calibration, None), Rows(test, None), settings)
    assert [promise.kind for promise in tuned.promises] == ["flagged", "precision"]
    flagged, precision = tuned.promises
    d2_N = calibration.cls_NH[:, 0] ** 2
    far_N = conformal_p(d2_N, np.sort(d2_N)) <= tuned.decision.conformal_alpha
    assert (flagged.num_rows, flagged.num_against) == (400, far_N.sum())
    decided = tuned.decide(test)
    kept_N = decided.label_N != "Other"
    wrong_N = kept_N & (decided.predicted_N != test.labels_N)
    assert (precision.num_rows, precision.num_against) == (kept_N.sum(), wrong_N.sum())
    measured = choose(
        model, Rows(calibration, None), Rows(test, None), asked(min_precision=0.8)
    )
    assert measured.promises == ()


def test_ads_needed_are_told_whether_or_not_something_is_promised():
    test = Rows(outputs(200), outputs(50))
    reached = Measures(0.95, 0.9, 0.5, 0.475, 0.9, 0.0)
    plain = ads_needed(asked(min_precision=0.9), reached, test)
    promised = ads_needed(
        asked(min_precision=0.9, max_flagged=0.02, confidence=0.95), reached, test
    )
    assert plain["min_precision"] < promised["min_precision"]  # two share the risk
    assert promised["max_flagged"] == 2 * np.ceil(np.log(0.025) / np.log(0.98))
    assert ads_needed(asked(), reached, test) == {}
    assert ads_needed(asked(min_precision=0.96), reached, test) == {"min_precision": None}


def test_bound_on_flagged_ads_is_kept_by_any_number_of_rows_that_can_show_it():
    settings = asked(max_flagged=0.01, confidence=0.95, rule="conformal")
    for num_rows in range(299, 1_000):
        check_rule(promised_rule(CONFORMAL, settings, num_rows), num_rows)

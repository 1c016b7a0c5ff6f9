"""Promised precision, drawn many times: how often the true precision is below it."""

from dataclasses import replace

import numpy as np
import pytest

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.ood.decision import fit_thresholds
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.promise import p_value
from rubert_ood.ood.promised import Rows, Target, ads_for, promise_precision
from rubert_ood.ood.temperature import TemperatureFit
from rubert_ood.ood.tuning import TAUS_T, count_curves, decide_both, measure
from rubert_ood.settings import DecisionSettings

C = 3
LEVEL = 0.8
TARGET = Target(min_precision=LEVEL, confidence=0.95, risk=0.05)


def ads(rng: np.random.Generator, num: int, *, off: float = 0.0) -> Outputs:
    """Draw ads that are right as often as the model says, and less often by a tenth.

    Their d2 is chi-square with one degree of freedom; off moves them away.
    """
    logits_NC = rng.normal(size=(num, C)) * 2.5
    odds_NC = np.exp(logits_NC)
    p_NC = 0.9 * odds_NC / odds_NC.sum(1, keepdims=True) + 0.1 / C
    labels_N = (rng.random((num, 1)) > p_NC.cumsum(1)).sum(1)
    return Outputs(logits_NC, rng.normal(size=(num, 1)) + off, labels_N)


def texts(rng: np.random.Generator, num: int, *, off: float = 4.0) -> Outputs:
    far = ads(rng, num, off=off)
    return replace(far, labels_N=np.full(num, -1))


def model(rng: np.random.Generator) -> FittedModel:
    return FittedModel(
        [str(c) for c in range(C)],
        TemperatureFit(1.0, 1.0, 1.0, False),
        MahalanobisStatistics(np.zeros((C, 1)), np.eye(1), 0.0),
        fit_thresholds(rng.normal(size=400) ** 2),
        DecisionSettings(rule="conformal", conformal_alpha=0.02, tau_other=0.0),
    )


def true_precision(
    fitted: FittedModel, world: Rows, decided: tuple, chosen: DecisionSettings
) -> float:
    taus = np.array([chosen.tau_other])
    curves = count_curves(fitted, chosen, world.ads.labels_N, *decided, taus)
    return float(curves.precision_T[0])


def test_promised_precision_is_missed_in_at_most_5_percent_of_draws():
    rng = np.random.default_rng(1)
    fitted, world = model(rng), ads(rng, 100_000)
    decided = fitted.decide(world)
    is_right_N = decided.predicted_N == world.labels_N
    missed, coverages = 0, []
    for _ in range(300):
        order, test = Rows(ads(rng, 600), None), Rows(ads(rng, 600), None)
        try:
            chosen, promise = promise_precision(fitted, order, test, TARGET)
        except PublicationRefusedError:
            continue
        kept_N = decided.confidence_N >= chosen.tau_other
        coverages.append(kept_N.mean())
        missed += is_right_N[kept_N].mean() < LEVEL
        assert (promise.level, promise.confidence) == (LEVEL, TARGET.confidence)
    best = max(
        np.mean(decided.confidence_N >= tau)
        for tau in TAUS_T
        if is_right_N[decided.confidence_N >= tau].mean() >= LEVEL
    )
    assert missed <= 0.05 * 300
    assert len(coverages) >= 0.8 * 300
    assert np.mean(coverages) >= 0.6 * best


def test_promised_precision_holds_with_ood_texts_among_the_kept():
    rng = np.random.default_rng(2)
    world = Rows(ads(rng, 200_000), texts(rng, 50_000))
    fitted = model(rng)
    decided = decide_both(fitted, world.ads, world.ood)
    missed = found = 0
    for _ in range(15):
        order = Rows(ads(rng, 600), texts(rng, 150))
        test = Rows(ads(rng, 600), texts(rng, 150))
        try:
            chosen, promise = promise_precision(fitted, order, test, TARGET)
        except PublicationRefusedError:
            continue
        found += 1
        missed += true_precision(fitted, world, decided, chosen) < LEVEL
        reached = measure(replace(fitted, decision=chosen), test.ads, test.ood)
        wrong = promise.num_against / promise.num_rows
        assert 1 - wrong == pytest.approx(reached.precision)
    assert missed <= 2
    assert found >= 12


def test_no_strength_above_the_share_that_is_promised_elsewhere_is_tried():
    rng = np.random.default_rng(3)
    order = Rows(ads(rng, 2_000), texts(rng, 600, off=3.0))
    test = Rows(ads(rng, 2_000), texts(rng, 600, off=3.0))
    for max_share in (0.02, 1.0):
        chosen, _ = promise_precision(model(rng), order, test, TARGET, max_share)
        assert (chosen.conformal_alpha <= 0.02) == (max_share == 0.02)


def test_what_cannot_be_promised_is_refused_with_the_ads_that_it_would_need():
    rng = np.random.default_rng(4)
    order, test = Rows(ads(rng, 60), None), Rows(ads(rng, 60), None)
    target = replace(TARGET, min_precision=0.9)
    with pytest.raises(PublicationRefusedError, match=r"needs about [\d,]+ labelled ads"):
        promise_precision(model(rng), order, test, target)
    order, test = Rows(ads(rng, 3_000), None), Rows(ads(rng, 3_000), None)
    hopeless = replace(TARGET, min_precision=0.97)
    with pytest.raises(
        PublicationRefusedError,
        match=r"0\.97 with confidence 0\.95\. .* 0\.9\d+ on \d+ kept ads\. Lower",
    ):
        promise_precision(model(rng), order, test, hopeless)


def test_ads_needed_are_those_with_which_the_promise_is_found():
    needed = ads_for(5, 100, 200, TARGET)  # half of the ads are kept, 5 % of them wrong
    rng = np.random.default_rng(5)
    kept = needed // 2 // 2
    wrong_D = rng.binomial(kept, 0.05, 20_000)
    share = np.mean(p_value(wrong_D, kept, 1 - LEVEL) <= 0.05)
    assert 0.78 <= share <= 0.9
    assert ads_for(20, 100, 200, TARGET) is None
    assert ads_for(0, 0, 200, TARGET) is None

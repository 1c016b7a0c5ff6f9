"""The detector that decides: p by counting, `combined` by loops, and all of it through `fit`."""

from typing import get_args

import numpy as np
import pytest

from rubert_ood.errors import BundleError, SettingsError
from rubert_ood.ood.chosen import fit_chosen, rank_all
from rubert_ood.ood.detectors import COMBINED, SINGLE, TITLES, fit_detectors
from rubert_ood.ood.fit import FittedModel, fit
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.limits import d2_limit
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DecisionSettings, DetectorName, FitSettings

C, H, ALPHA = 6, 9, 0.05


def ads(num: int, seed: int, *, off: float = 0.0) -> Outputs:
    rng = np.random.default_rng(seed)
    labels_N = np.arange(num) % C
    cls_NH = 4 * np.eye(C, H)[labels_N] + rng.normal(size=(num, H))
    cls_NH[:, C:] += off
    logits_NC = cls_NH[:, :C] + rng.normal(size=(num, C)) / 4
    tokens_NH = np.roll(cls_NH, 3, axis=1) + rng.normal(size=(num, H)) / 2
    logits_NC, cls_NH, tokens_NH = (
        array.astype(np.float32) for array in (logits_NC, cls_NH, tokens_NH)
    )
    return Outputs(logits_NC, cls_NH, labels_N, tokens_NH)


TRAIN, CALIBRATION, TEST, FAR = ads(300, 1), ads(120, 2), ads(90, 3), ads(40, 4, off=5.0)
STATISTICS = fit_mahalanobis(TRAIN.cls_NH, TRAIN.labels_N, C)


def fitted(name: DetectorName) -> FittedModel:
    return fit(
        STATISTICS,
        CALIBRATION,
        labels=[str(c) for c in range(C)],
        settings=FitSettings(),
        decision=DecisionSettings(
            rule="conformal", conformal_alpha=ALPHA, ood_conf_gate=1.01, detector=name
        ),
        train=TRAIN,
    )


@pytest.mark.parametrize("name", SINGLE)
def test_chosen_p_is_the_share_of_calibration_ads_with_such_a_score(name):
    model = fitted(name)
    detectors = fit_detectors(
        TRAIN,
        statistics=STATISTICS,
        temperature=model.temperature.temperature,
    )
    score = detectors[TITLES[name]]
    calibration = score(CALIBRATION)
    scores = score(TEST)
    by_hand = [(1 + np.sum(calibration >= s)) / 121 for s in scores]
    got = model.decide(TEST)
    np.testing.assert_allclose(got.ood_p_N, by_hand)
    assert (got.is_ood_N == (np.array(by_hand) <= ALPHA)).all()


@pytest.mark.parametrize("name", COMBINED)
def test_chosen_combined_is_the_harmonic_mean_among_the_calibration_ads_by_loops(name):
    model = fitted(name)
    detectors = fit_detectors(
        TRAIN,
        statistics=STATISTICS,
        temperature=model.temperature.temperature,
    )
    of_calibration, of_test = [0.0] * 120, [0.0] * 90
    for part in COMBINED[name]:
        score = detectors[TITLES[part]]
        calibration = score(CALIBRATION)
        for i, s in enumerate(calibration):
            of_calibration[i] += 121 / sum(calibration >= s)
        for i, s in enumerate(score(TEST)):
            of_test[i] += 121 / (1 + sum(calibration >= s))
    close = 1e-9
    by_hand = [(1 + sum(c >= t - close for c in of_calibration)) / 121 for t in of_test]
    got = model.decide(TEST)
    np.testing.assert_allclose(got.ood_p_N, by_hand)


@pytest.mark.parametrize("name", get_args(DetectorName))
def test_chosen_detector_leaves_distance_and_z_to_mahalanobis(name):
    plain, model = fitted("mahalanobis"), fitted(name)
    ours, theirs = (m.decide(FAR) for m in (model, plain))
    np.testing.assert_array_equal(ours.ood_distance_N, theirs.ood_distance_N)
    np.testing.assert_array_equal(ours.ood_z_N, theirs.ood_z_N)
    limit = d2_limit(model.decision, model.thresholds)
    assert (limit is None) == (name != "mahalanobis")


@pytest.mark.parametrize("name", COMBINED)
def test_chosen_combined_sees_texts_that_are_far(name):
    model = fitted(name)
    far, near = (model.decide(x).is_ood_N.mean() for x in (FAR, TEST))
    assert far > 0.85 > 0.15 > near


def test_chosen_detectors_ranked_together_are_those_fitted_alone():
    together = rank_all(TRAIN, CALIBRATION, statistics=STATISTICS, temperature=1.3)
    assert list(together) == list(TITLES.values())
    for name, title in TITLES.items():
        alone = fit_chosen(
            name, TRAIN, CALIBRATION, statistics=STATISTICS, temperature=1.3
        )
        np.testing.assert_array_equal(together[title].p(TEST), alone.p(TEST))
        np.testing.assert_array_equal(together[title].score(TEST), alone.score(TEST))


def test_decision_with_a_detector_and_the_notebook_rule_is_refused():
    with pytest.raises(SettingsError, match=r"Set decision\.rule to conformal"):
        DecisionSettings(detector="knn")


def test_fitted_model_without_the_detector_of_its_settings_is_refused():
    decision = DecisionSettings(rule="conformal", detector="energy")
    plain = fitted("mahalanobis")
    with pytest.raises(BundleError, match="is energy, but mahalanobis was fitted"):
        FittedModel(
            plain.labels, plain.temperature, STATISTICS, plain.thresholds, decision
        )

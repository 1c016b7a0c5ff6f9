"""The halves that a tuning is done on, and the targets that they can show."""

import numpy as np
import pytest

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.errors import InputError, SettingsError
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DecisionSettings, TuneSettings
from rubert_ood.training.tuning import (
    check_target,
    halves,
    join_ood,
    starting_decision,
)


def _settings(**changes) -> TuneSettings:
    return TuneSettings(**{"bundle_uri": "b", "input_uri": "ads.parquet", **changes})


def _ads(labels: list[int]) -> LabelledAds:
    texts = [f"текст {number}" for number in range(len(labels))]
    return LabelledAds(texts, np.array(labels), {"length": [text[-1] for text in texts]})


def test_halves_share_the_classes_and_every_ad_is_in_one():
    ads = _ads([0] * 60 + [1] * 40 + [2] * 20)
    parts = halves(ads, _settings())
    assert list(parts) == ["calibration", "test"]
    for part in parts.values():
        assert np.bincount(part.labels_N).tolist() == [30, 20, 10]
        for row, text in enumerate(part.texts):
            number = ads.texts.index(text)
            assert part.labels_N[row] == ads.labels_N[number]
            assert part.traits["length"][row] == ads.traits["length"][number]
    assert sorted(parts["calibration"].texts + parts["test"].texts) == sorted(ads.texts)
    again = halves(ads, _settings())
    assert again["test"].texts == parts["test"].texts
    assert halves(ads, _settings(seed=1))["test"].texts != parts["test"].texts


def test_a_class_of_one_ad_does_not_stop_the_cut():
    parts = halves(_ads([0] * 119 + [1]), _settings())
    assert (len(parts["calibration"]), len(parts["test"])) == (60, 60)


def test_too_few_ads_are_named():
    with pytest.raises(InputError, match=r"at least 100 ads with text, and there are 99"):
        halves(_ads([0] * 99), _settings())


def test_a_target_that_so_few_ads_cannot_show_is_refused():
    check_target(_settings(min_precision=0.99), 100)
    check_target(_settings(), 1)
    with pytest.raises(
        SettingsError, match=r"0\.99 needs at least 100 ads .* there are 99"
    ):
        check_target(_settings(min_precision=0.99), 99)
    promised = _settings(min_precision=0.99, confidence=0.95)
    check_target(promised, 299)  # 0.99 ** 299 = 0.0496
    with pytest.raises(SettingsError, match=r"at least 299 ads .* there are 298"):
        check_target(promised, 298)


def test_ood_texts_of_all_kinds_are_joined_in_order():
    def part(value: float) -> Outputs:
        return Outputs(np.full((2, 3), value), np.full((2, 4), value), np.full(2, -1))

    joined = join_ood(
        {"test": part(0), "ood/шум": part(1), "hard_cases": part(2), "ood/код": part(3)}
    )
    assert joined.logits_NC[:, 0].tolist() == [1, 1, 3, 3]
    assert joined.cls_NH.shape == (4, 4)
    assert join_ood({"test": part(0)}) is None


@pytest.mark.parametrize(
    ("now", "given", "expected"),
    [
        (("notebook", "mahalanobis"), {}, ("notebook", "mahalanobis")),
        (("notebook", "mahalanobis"), {"detector": "knn"}, ("conformal", "knn")),
        (("conformal", "knn"), {}, ("conformal", "knn")),
        (("conformal", "knn"), {"rule": "notebook"}, ("notebook", "mahalanobis")),
        (("conformal", "knn"), {"detector": "mahalanobis"}, ("conformal", "mahalanobis")),
        (
            ("notebook", "mahalanobis"),
            {"rule": "conformal"},
            ("conformal", "mahalanobis"),
        ),
    ],
)
def test_starting_decision_takes_what_is_given_and_what_goes_with_it(
    now, given, expected
):
    rule, detector = now
    decision = DecisionSettings(rule=rule, detector=detector, tau_other=0.2)
    found = starting_decision(decision, _settings(**given))
    assert (found.rule, found.detector, found.tau_other) == (*expected, 0.2)


def test_starting_decision_of_a_detector_with_the_notebook_rule_is_refused():
    wrong = _settings(rule="notebook", detector="energy")
    with pytest.raises(SettingsError, match="energy decides by its p-value"):
        starting_decision(DecisionSettings(), wrong)

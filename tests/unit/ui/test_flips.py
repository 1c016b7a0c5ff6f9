"""What would change an answer: checked against the rule written out, and by trying it."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from rubert_ood.errors import SchemaError, SettingsError
from rubert_ood.ood.class_limits import ClassLimits
from rubert_ood.ui import advice
from rubert_ood.ui.flips import (
    Choice,
    Numbers,
    bundle_choice,
    flips,
    outcome,
    ranges,
)
from rubert_ood.ui.verdict import steps


@pytest.fixture(scope="module")
def made_up(fitted):
    """Decisions of every kind, around the limits of the bundle."""
    limit = outcome(fitted, numbers(fitted, 0.5, 1.0), Choice()).d2_limit
    rows = []
    for confidence in (0.2, 0.36, 0.5, 0.89, 0.95):
        for factor in (0.1, 0.9, 1.1, 5.0):
            rows.append(numbers(fitted, confidence, factor * limit))
    return rows


def numbers(fitted, confidence: float, d2: float) -> Numbers:
    return Numbers(labels=fitted.labels[:2], scores=[confidence, 0.01], d2=d2)


def by_hand(fitted, row: Numbers, changed: dict[str, float]) -> tuple[str, bool]:
    """The notebook rule, written out."""
    rule = {**fitted.decision.model_dump(), **changed}
    d2_N = fitted.thresholds.calibration_d2
    threshold = fitted.thresholds.threshold
    if "threshold_quantile" in changed:
        threshold = np.quantile(d2_N, changed["threshold_quantile"])
    z = (row.d2 - d2_N.mean()) / (d2_N.std(ddof=1) + 1e-9)
    is_far = row.d2 > rule["alpha"] * threshold and z > rule["z_thr"]
    if is_far and row.scores[0] < rule["ood_conf_gate"]:
        return "Other", True
    is_sure = row.scores[0] >= rule["tau_other"]
    return (row.labels[0] if is_sure else "Other"), False


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tau_other": 0.6},
        {"ood_conf_gate": 0.3},
        {"alpha": 3.0, "z_thr": 0.0},
        {"threshold_quantile": 0.6},
        {"threshold_quantile": 0.99, "alpha": 0.5},
    ],
)
def test_outcome_is_the_rule_written_out(fitted, made_up, changed):
    for row in made_up:
        found = outcome(fitted, row, Choice(**changed))
        assert found.answer == by_hand(fitted, row, changed)


def test_flips_change_the_answer_and_a_little_less_does_not(fitted, made_up):
    num_flips = 0
    for row in made_up:
        now = by_hand(fitted, row, {})
        for flip in flips(fitted, row, Choice()):
            num_flips += 1
            assert by_hand(fitted, row, {flip.setting: flip.value}) != now
            before = flip.value - (0.0003 if flip.rises else -0.0003)
            low, high = ranges(fitted, "notebook")[flip.setting]
            if low < before < high:
                assert by_hand(fitted, row, {flip.setting: before}) == now
    assert num_flips > 20


def test_flips_find_every_setting_that_can_change_the_answer(fitted, made_up):
    for row in made_up:
        now = by_hand(fitted, row, {})
        found = {(flip.setting, flip.rises) for flip in flips(fitted, row, Choice())}
        start = bundle_choice(fitted).model_dump()
        for setting, ends in ranges(fitted, "notebook").items():
            for end in ends:
                turns = by_hand(fitted, row, {setting: end}) != now
                assert turns == ((setting, end > start[setting]) in found)


def test_flips_start_from_what_is_tried(fitted, made_up):
    choice = Choice(tau_other=0.9)
    for row in made_up:
        for flip in flips(fitted, row, choice):
            changed = {"tau_other": 0.9, flip.setting: flip.value}
            assert by_hand(fitted, row, changed) == (flip.label, flip.is_ood)


def test_outcome_of_the_conformal_rule_compares_p(fitted):
    d2_N = fitted.thresholds.calibration_d2
    choice = Choice(rule="conformal", conformal_alpha=0.05)
    for d2 in (d2_N[-2] - 1e-9, d2_N[-6], d2_N[0]):
        p = (1 + (d2_N >= d2).sum()) / (len(d2_N) + 1)
        found = outcome(fitted, numbers(fitted, 0.1, d2), choice)
        assert found.p == p
        assert found.is_far == (p <= 0.05)


def test_outcome_of_a_value_that_the_settings_refuse_is_one_line(fitted):
    row = numbers(fitted, 0.5, 1.0)
    with pytest.raises(SettingsError, match="tau_other"):
        outcome(fitted, row, Choice(tau_other=2))
    with pytest.raises(SettingsError, match="conformal_alpha"):
        outcome(fitted, row, Choice(rule="conformal", conformal_alpha=1e-9))


def test_numbers_of_another_bundle_are_refused(fitted):
    row = Numbers(labels=["Космос"], scores=[0.5], d2=1)
    with pytest.raises(SchemaError, match="this bundle has no such class"):
        outcome(fitted, row, Choice())
    with pytest.raises(ValidationError, match="one for each label"):
        Numbers(labels=["a", "b"], scores=[0.5], d2=1)


def test_bundle_choice_gives_the_quantile_that_was_fitted(fitted):
    assert bundle_choice(fitted).threshold_quantile == pytest.approx(0.8, abs=1e-6)
    assert bundle_choice(fitted).tau_other == fitted.decision.tau_other


def test_advice_is_flags_and_yaml_that_train_reads(fitted):
    choice = Choice(tau_other=0.4, threshold_quantile=0.99, rule="conformal")
    from rubert_ood.settings import TrainSettings, load_settings

    words = advice.flags(choice).split()
    settings = load_settings(
        TrainSettings, ["--input_uri", "in", *words], program="rubert-ood train"
    )
    assert settings.decision.tau_other == 0.4
    assert settings.decision.rule == "conformal"
    assert settings.fit.threshold_quantile == 0.99
    loaded = yaml.safe_load(advice.as_yaml(choice))
    by_yaml = TrainSettings(input_uri="in", **loaded)
    assert (by_yaml.decision, by_yaml.fit) == (settings.decision, settings.fit)
    assert (advice.flags(Choice()), advice.as_yaml(Choice())) == ("", "")


@pytest.fixture(scope="module")
def limited(fitted):
    """The bundle with limits by class: the first class is hardly ever far, the others often."""
    alpha_C = np.array([0.01, *[0.4] * (len(fitted.labels) - 1)])
    none_C = np.zeros(len(alpha_C), bool)
    limits = ClassLimits(alpha_C, np.zeros(len(alpha_C), int), none_C)
    decision = fitted.decision.model_copy(update={"rule": "conformal"})
    thresholds = replace(fitted.thresholds, by_class=limits)
    return replace(fitted, thresholds=thresholds, decision=decision)


def test_outcome_takes_the_limit_of_the_class_until_another_alpha_is_tried(limited):
    d2 = float(np.quantile(limited.thresholds.calibration_d2, 0.8))
    found = []
    for best in range(2):
        row = Numbers(labels=limited.labels[best : best + 1], scores=[0.5], d2=d2)
        given = outcome(limited, row, bundle_choice(limited))
        assert given.is_far == (given.p <= given.p_limit) == (d2 > given.d2_limit)
        tried = outcome(limited, row, Choice(conformal_alpha=0.3))
        assert (tried.p_limit, tried.is_far) == (0.3, True)
        assert "of the class" in steps(given)[0].fact
        assert "conformal_alpha 0.3" in steps(tried)[0].fact
        found.append((given.p_limit, given.is_far))
    assert found == [(0.01, False), (0.4, True)]
    assert "conformal_alpha" not in ranges(limited, "conformal")

"""Each limit alone: kept at its very value, not kept beyond, absent where nothing was measured."""

import pytest

from rubert_ood.promotion.document import (
    Change,
    Churn,
    ClassRow,
    Comparison,
    Discordant,
    Measures,
)
from rubert_ood.promotion.limits import check_limits, refusal, worst_class
from rubert_ood.settings import PromotionLimits

LIMITS = PromotionLimits()


def measures(**changes) -> Measures:
    numbers = {
        "accuracy": 0.9,
        "macro_f1": 0.88,
        "ece": 0.02,
        "false_alarms": 0.004,
        "other_rate": 0.03,
        "ads_per_s": 100.0,
    }
    return Measures.model_validate(numbers | changes)


def row(label: str, change: float, p: float) -> ClassRow:
    return ClassRow(
        label=label,
        support=100,
        f1=0.9 + change,
        champion_f1=0.9,
        change=Change(value=change, lower=change - 0.02, upper=change + 0.02),
        discordant=Discordant(only_new=3, only_champion=9, p=p),
    )


def comparison(**changes) -> Comparison:
    content = {
        "test_uri": "test",
        "num_ads": 1000,
        "num_unreadable": 0,
        "device": "CPU",
        "new": measures(ood_auroc={"talk": 0.9}),
        "champion": measures(ood_auroc={"talk": 0.9}),
        "accuracy": Change(value=0.0, lower=-0.005, upper=0.005),
        "macro_f1": Change(value=0.0, lower=-0.005, upper=0.005),
        "classes": [row("Книги", 0.0, 1.0)],
        "confusions": [],
        "churn": Churn(num_ads=100, changed=5, moves=[]),
        "speed_ratio": 1.0,
    }
    return Comparison.model_validate(content | changes)


def failed(found: Comparison, limits: PromotionLimits = LIMITS) -> dict[str, float]:
    checks = check_limits(found, limits)
    return {check.check: check.value for check in checks if not check.ok}


def test_check_limits_of_an_equal_bundle_keeps_every_limit_of_the_settings():
    checks = check_limits(comparison(), LIMITS)
    assert all(check.ok for check in checks)
    names = {check.check for check in checks}
    assert names == PromotionLimits.model_fields.keys() - {"confidence"}
    for check in checks:
        assert check.limit == getattr(LIMITS, check.check)


@pytest.mark.parametrize(
    ("name", "changes", "value"),
    [
        ("min_test_ads", {"num_ads": 199}, 199),
        ("max_accuracy_loss", {"accuracy": (0.0, -0.0101, 0.01)}, 0.0101),
        ("max_macro_f1_loss", {"macro_f1": (0.01, -0.021, 0.03)}, 0.021),
        ("max_class_f1_loss", {"classes": [row("Книги", -0.06, 0.04)]}, 0.06),
        ("max_churn", {"churn": Churn(num_ads=100, changed=31, moves=[])}, 0.31),
        ("min_speed_ratio", {"speed_ratio": 0.49}, 0.49),
    ],
)
def test_check_limits_of_a_comparison_beyond_one_limit_names_that_one(
    name, changes, value
):
    for key in ("accuracy", "macro_f1"):
        if key in changes:
            middle, lower, upper = changes[key]
            changes[key] = Change(value=middle, lower=lower, upper=upper)
    assert failed(comparison(**changes)) == {name: pytest.approx(value)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"accuracy": 0.49}, {"min_accuracy"}),
        ({"macro_f1": 0.49}, {"min_macro_f1"}),
        ({"ece": 0.11}, {"max_ece", "max_ece_rise"}),
        ({"ece": 0.031}, {"max_ece_rise"}),
        ({"false_alarms": 0.02}, {"max_false_alarm_rise"}),
        ({"false_alarms": 0.06}, {"max_false_alarms", "max_false_alarm_rise"}),
        ({"other_rate": 0.09}, {"max_other_rise"}),
        ({"other_rate": 0.51}, {"max_other_rate", "max_other_rise"}),
        ({"ood_auroc": {"talk": 0.84}}, {"max_ood_auroc_loss"}),
        ({"ood_auroc": {"talk": 0.4}}, {"min_ood_auroc", "max_ood_auroc_loss"}),
    ],
)
def test_check_limits_of_measures_beyond_their_limits_names_those(changes, expected):
    new = measures(**{"ood_auroc": {"talk": 0.9}} | changes)
    assert failed(comparison(new=new)).keys() == expected


def test_check_limits_of_a_first_bundle_asks_only_for_its_own():
    alone = comparison(
        champion=None, accuracy=None, macro_f1=None, churn=None, speed_ratio=None
    )
    names = [check.check for check in check_limits(alone, LIMITS)]
    own = ["min_test_ads", "min_accuracy", "min_macro_f1", "max_ece", "max_false_alarms"]
    assert names == [*own, "max_other_rate", "min_ood_auroc"]
    assert failed(alone) == {}


def test_check_limits_leaves_out_what_was_not_measured():
    plain = measures()
    found = comparison(new=plain, champion=plain, churn=None)
    names = {check.check for check in check_limits(found, LIMITS)}
    assert not names & {"min_ood_auroc", "max_ood_auroc_loss", "max_churn"}


def test_check_limits_takes_the_worst_kind_of_ood_text_and_never_the_mean():
    new = measures(ood_auroc={"talk": 0.99, "news": 0.7})
    champion = measures(ood_auroc={"talk": 0.8, "news": 0.8})
    assert failed(comparison(new=new, champion=champion)) == {
        "max_ood_auroc_loss": pytest.approx(0.1)
    }


def test_worst_class_is_that_of_the_largest_loss_which_is_no_chance():
    rows = [row("Книги", -0.3, 0.2), row("Кошки", -0.08, 0.01), row("Обувь", -0.06, 0.0)]
    found = comparison(classes=rows)
    assert worst_class(found, LIMITS).label == "Кошки"
    bold = PromotionLimits(confidence=0.7)
    assert worst_class(found, bold).label == "Книги"
    assert worst_class(comparison(), LIMITS) is None


def test_refusal_names_each_limit_with_its_value_and_the_class():
    found = comparison(classes=[row("Книги", -0.06, 0.04)], speed_ratio=0.25)
    checks = check_limits(found, LIMITS)
    error = refusal("/b/v2", checks, worst_class(found, LIMITS))
    assert str(error) == (
        "/b/v2: the limits refuse this bundle, which is kept but not promoted:"
        " limits.max_class_f1_loss is 0.05, found 0.06 (class Книги),"
        " limits.min_speed_ratio is 0.5, found 0.25"
    )
    assert error.exit_code == 5
    assert refusal("/b/v2", check_limits(comparison(), LIMITS), None) is None

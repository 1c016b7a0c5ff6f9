"""The numbers at the top of the evaluation, against the record."""

import pytest

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.reports.evaluate import Material, evaluate
from rubert_ood.reports.evaluation import Evaluation
from rubert_ood.reports.facts import Fact, evaluation_facts
from rubert_ood.training.baseline import Baseline


@pytest.fixture(scope="module")
def evaluation(model, splits) -> Evaluation:
    ads = LabelledAds(["текст"] * 200, splits["test"].labels_N)
    return evaluate(model, Material(splits, ads), baseline=Baseline(0.5, 0.99))


def facts(evaluation: Evaluation) -> dict[str, Fact]:
    return {fact.name: fact for fact in evaluation_facts(evaluation)}


def test_facts_have_the_numbers_of_the_headline_with_units(evaluation):
    found, headline = facts(evaluation), evaluation.headline
    assert found["Accuracy"].value == f"{headline.accuracy:.2%}"
    assert found["ECE after T"].value == f"{headline.ece_after:.4f}"
    assert found["NLL after T"].value == f"{headline.nll_after:.4f} nats"
    assert found["Flagged OOD"].value == f"{headline.ood_rate:.2%}"
    assert found["d2 threshold"].value == f"{headline.threshold:,.1f}"
    assert found["Mean d2 of valid"].note == f"μ, with σ {headline.sigma:,.1f}"
    own_class = f"{headline.mean_d2_own_class:,.1f} to the own class"
    assert found["Mean d2 of train"].note == f"to the nearest class, {own_class}"
    assert list(found).count("Mean d2 of valid") == 1


def test_facts_say_what_is_good_and_whether_it_is(evaluation):
    found = facts(evaluation)
    assert found["Accuracy"].ok is (evaluation.headline.accuracy >= 0.5)
    assert found["Accuracy"].good == "good: at least 50.00%, the baseline"
    assert found["Macro-F1"].ok is False
    assert found["ECE after T"].good == "good: at most 0.05"
    assert found["Flagged OOD"].good == "good: at most 1%"
    assert found["d2 threshold"].good == ""
    assert found["d2 threshold"].ok is None


@pytest.mark.parametrize(("ece", "ok"), [(0.05, True), (0.051, False)])
def test_fact_of_calibration_is_good_up_to_its_bound(evaluation, ece, ok):
    headline = evaluation.headline.model_copy(update={"ece_after": ece})
    changed = evaluation.model_copy(update={"headline": headline})
    assert facts(changed)["ECE after T"].ok is ok


def test_facts_without_a_baseline_say_which_side_is_better(evaluation):
    alone = evaluation.model_copy(update={"baseline": None})
    assert facts(alone)["Accuracy"].good == "larger is better"
    assert facts(alone)["Accuracy"].ok is None

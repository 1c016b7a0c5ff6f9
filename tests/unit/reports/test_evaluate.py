"""What `evaluate` is given; its numbers are tested in test_evaluation.py."""

from dataclasses import replace

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ads.extra_texts import ExtraTexts
from rubert_ood.reports.evaluate import Material, evaluate
from rubert_ood.reports.evaluation import Context


def test_material_sorts_the_outputs_of_a_job(splits, ood):
    outputs = {
        "ood/talk": ood["talk"],
        "hard_cases": ood["news"],
        "ood/news": ood["news"],
    }
    extra = ExtraTexts([("текст", "Книги")], {})
    ads = LabelledAds(["x"] * 200, splits["test"].labels_N)
    material = Material.of({**splits, **outputs}, extra=extra, test_ads=ads)
    assert list(material.splits) == ["train", "valid", "test"]
    assert list(material.ood) == ["news", "talk"]
    assert material.hard_cases == [("текст", "Книги")]
    assert material.hard_case_outputs is ood["news"]
    assert material.test is splits["test"]


def test_hard_cases_without_outputs_are_not_measured(model, splits, hard_cases):
    cases, outputs = hard_cases
    ads = LabelledAds(["x"] * 200, splits["test"].labels_N)
    material = Material({"test": splits["test"]}, ads, hard_cases=cases)
    assert evaluate(model, material).hard_cases == []
    measured = evaluate(model, replace(material, hard_case_outputs=outputs))
    assert [case.text for case in measured.hard_cases] == [text for text, _ in cases]


def test_the_context_goes_into_the_evaluation_as_it_is(model, splits):
    material = Material(
        {"test": splits["test"]}, LabelledAds(["x"] * 200, splits["test"].labels_N)
    )
    context = Context(version="v7", tuned_from="v6", tuned_for="precision")
    assert evaluate(model, material, context=context).context == context
    assert evaluate(model, material).context == Context()

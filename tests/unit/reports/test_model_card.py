from typing import Any

import pytest
import yaml

from rubert_ood.plain import printable
from rubert_ood.reports.evaluation import Context, Evaluation, Finding, Headline
from rubert_ood.reports.model_card import model_card

HOSTILE = (
    "Мебель\x1b[2J<img src=x onerror=alert(1)>\n"
    "# Заголовок `код` [ссылка](http://evil) |x|\u202e"
)


def _typed(content: dict[str, Any]) -> Evaluation:
    return Evaluation.model_construct(
        context=Context(**content["context"]),
        headline=Headline.model_construct(**content["headline"]),
        verdict=[Finding(**finding) for finding in content["verdict"]],
    )


@pytest.fixture
def evaluation() -> dict[str, Any]:
    return {
        "context": {"version": "v1", "base_model": "ru/bert", "num_train": 1200},
        "headline": {
            "accuracy": 0.9,
            "macro_f1": 0.8,
            "temperature": 1.5,
            "ece_after": 0.01,
            "calibrated_on": "valid",
            "threshold": 123.0,
        },
        "verdict": [
            {"ok": True, "text": "Accuracy 90.0%."},
            {"ok": False, "text": "1 class(es) have F1 below 0.6: Шины и диски (0.41)."},
        ],
    }


def test_findings_and_numbers_stand_in_the_card(evaluation):
    card = model_card(_typed(evaluation))
    assert "# Classifier of Russian private ads, version v1" in card
    assert "It was fine-tuned from ru/bert on 1,200 ads." in card
    assert "- Accuracy 90.0%." in card
    assert "- CAUTION: 1 class(es) have F1 below 0.6: Шины и диски (0.41)." in card
    assert "| accuracy, larger is better | 0.9000 |" in card


def test_a_name_of_a_class_is_text_in_the_card_never_markup_and_never_a_control_character(
    evaluation,
):
    evaluation["verdict"][1]["text"] = f"1 class(es) have F1 below 0.6: {HOSTILE} (0.41)."
    evaluation["context"]["base_model"] = evaluation["context"]["version"] = HOSTILE
    evaluation["context"]["tuned_from"] = evaluation["context"]["tuned_for"] = HOSTILE
    card = model_card(_typed(evaluation))
    assert not [letter for letter in card if not letter.isprintable() and letter != "\n"]
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head)["base_model"] == printable(HOSTILE)
    for line in body.splitlines():
        assert "<img" not in line.replace("\\<", "")
        assert "[ссылка]" not in line
        assert not line.startswith("# З")
    assert "Мебель\\\\x1b\\[2J\\<img src=x" in body

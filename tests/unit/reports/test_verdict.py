"""What the first lines of a report say, number by number."""

from typing import Any

import pytest

from rubert_ood.ood.comparison import DetectorResult, KindMetrics
from rubert_ood.ood.metrics import ClassMetrics
from rubert_ood.ood.recommend import Recommendation
from rubert_ood.reports.evaluation import Evaluation, HardCase, Headline, OodKind
from rubert_ood.reports.verdict import verdict
from rubert_ood.settings import DecisionSettings
from rubert_ood.training.baseline import Baseline
from rubert_ood.training.stack import Score, StackReport, ThreeWays


def good_evaluation() -> dict[str, Any]:
    return {
        "headline": {
            "num_test": 100,
            "accuracy": 0.95,
            "macro_f1": 0.94,
            "temperature": 1.2,
            "at_bound": False,
            "ece_before": 0.04,
            "ece_after": 0.02,
            "calibrated_on": "calibration",
            "num_calibration": 720,
            "far_rate": 0.004,
            "ood_rate": 0.002,
            "other_rate": 0.01,
        },
        "decision": {"rule": "notebook", "conformal_alpha": 0.01},
        "baseline": {"accuracy": 0.9, "macro_f1": 0.9},
        "detectors": [
            {
                "detector": "Mahalanobis",
                "kinds": {"news": {"auroc": 0.9}, "code": {"auroc": 0.97}},
                "left_out": None,
            },
            {
                "detector": "MSP",
                "kinds": {"news": {"auroc": 0.94}, "code": {"auroc": 0.7}},
                "left_out": None,
            },
        ],
        "per_class": [
            {"label": "Кошки", "f1": 0.81, "support": 9},
            {"label": "Книги", "f1": 0.9, "support": 9},
        ],
        "ood_kinds": [{"kind": "news", "caught": 0.9}, {"kind": "code", "caught": 0.6}],
        "hard_cases": [{"ok": True}] * 10,
    }


def typed(content: dict[str, Any]) -> Evaluation:
    """Make the records that a verdict looks at; what it does not look at is left out or 0."""
    detectors = []
    for entry in content["detectors"]:
        kinds = {
            kind: _kind(metrics["auroc"]) for kind, metrics in entry["kinds"].items()
        }
        left_out = _kind(entry["left_out"]["auroc"]) if entry["left_out"] else None
        detectors.append(DetectorResult(entry["detector"], 0.0, kinds, left_out))
    return Evaluation.model_construct(
        headline=Headline.model_construct(**content["headline"]),
        decision=DecisionSettings(**content["decision"]),
        baseline=Baseline(**content["baseline"]),
        detectors=detectors,
        per_class=[
            ClassMetrics(precision=0.0, recall=0.0, **row) for row in content["per_class"]
        ],
        ood_kinds=[OodKind.model_construct(**kind) for kind in content["ood_kinds"]],
        hard_cases=[HardCase.model_construct(**case) for case in content["hard_cases"]],
    )


def _kind(auroc: float) -> KindMetrics:
    return KindMetrics(auroc, 0.0, 0.0, 0.0, caught=0.0)


def test_verdict_on_a_good_model():
    assert [item.ok for item in verdict(typed(good_evaluation()))] == [True] * 8


def test_the_conformal_rule_is_held_to_its_promise():
    evaluation = good_evaluation()
    evaluation["decision"]["rule"] = "conformal"
    assert "The rule was asked for 1.00% far." in verdict(typed(evaluation))[3].text
    for far_rate, ok in ((0.0149, True), (0.0151, False)):
        evaluation["headline"]["far_rate"] = far_rate
        assert verdict(typed(evaluation))[3].ok is ok


@pytest.mark.parametrize(
    ("spoil", "finding", "says"),
    [
        (lambda e: e["baseline"].update(accuracy=0.97), 0, "2.0 points below TF-IDF"),
        (
            lambda e: e["baseline"].update(accuracy=0.97, num_train=50_000),
            0,
            "(97.0%, trained on a sample of 50,000 ads)",
        ),
        (
            lambda e: e["headline"].update(ece_after=0.08),
            1,
            "8.0% on average (ECE 0.080, good: at most 0.05)",
        ),
        (
            lambda e: e["headline"].update(ece_after=0.06, ece_by_chance=0.031),
            1,
            "off by 4.0% before T = 1.2. Chance alone makes 3.1% on so many ads.",
        ),
        (
            lambda e: e["headline"].update(at_bound=True, temperature=0.5),
            1,
            "T ended at its bound, so do not trust confidence.",
        ),
        (
            lambda e: e["headline"].update(calibrated_on="valid"),
            2,
            "720 valid ads, which also chose the checkpoint.",
        ),
        (lambda e: e["headline"].update(ood_rate=0.03), 3, "3.00%"),
        (
            lambda e: e["headline"].update(other_rate=0.11),
            3,
            "11.00% end as Other (good: at most 10%)",
        ),
        (
            lambda e: e["headline"].update(num_test=99),
            0,
            "99 test ads. So few tell little (good: at least 100).",
        ),
        (
            lambda e: e["headline"].update(num_calibration=99),
            2,
            "99 ads that neither trained nor chose the checkpoint",
        ),
        (lambda e: e["per_class"][0].update(f1=0.79), 4, "Кошки (0.79)"),
        (
            lambda e: e["per_class"][0].update(f1=0.0, support=0),
            4,
            "1 class has no test ad",
        ),
        (
            lambda e: e.update(per_class=[{"label": "К", "f1": 0.5, "support": 1}] * 7),
            4,
            "7 classes have F1 below 0.8: К (0.50)",
        ),
        (lambda e: e["ood_kinds"][1].update(caught=0.4), 5, "code (40%)"),
        (
            lambda e: e["detectors"][1]["kinds"]["news"].update(auroc=0.951),
            6,
            "news (MSP 0.95 against 0.90)",
        ),
        (
            lambda e: [
                d.update(left_out={"auroc": auroc})
                for d, auroc in zip(e["detectors"], (0.85, 0.91), strict=True)
            ],
            6,
            "classes left out (MSP 0.91 against 0.85)",
        ),
        (
            lambda e: e.update(hard_cases=[{"ok": True}] * 7 + [{"ok": False}] * 3),
            7,
            "7 of 10 hard cases are right (good: at least 80%).",
        ),
    ],
)
def test_verdict_names_what_is_wrong(spoil, finding, says):
    evaluation = good_evaluation()
    spoil(evaluation)
    findings = verdict(typed(evaluation))
    assert [number for number, item in enumerate(findings) if not item.ok] == [finding]
    assert says in findings[finding].text


@pytest.mark.parametrize("is_kept", [None, True, False])
def test_verdict_advises_to_mix_words_only_where_that_was_not_tried(is_kept):
    content = good_evaluation()
    content["baseline"].update(accuracy=0.97)
    evaluation = typed(content)
    if is_kept is not None:
        same = ThreeWays(Score(0.9, 0.9), Score(0.9, 0.9), Score(0.95, 0.95))
        report = StackReport(is_kept, 1.0, 1_000, 500, valid=same, test=same)
        evaluation = evaluation.model_copy(update={"stack": report})
    advice = verdict(evaluation)[0].advice
    expected = "Mix words with the network" if is_kept is None else "Train with more ads"
    assert advice == expected


@pytest.mark.parametrize(
    ("recommended", "advice"),
    [
        ("energy", "Let energy decide"),
        ("combined", "Let msp decide if news matters most"),
    ],
)
def test_verdict_lets_the_recommended_detector_decide_never_the_one_that_does(
    recommended, advice
):
    """The one that decides may be the best of all kinds together, and miss one of them."""
    evaluation = good_evaluation()
    evaluation["decision"] = {"rule": "conformal", "detector": "combined"}
    evaluation["detectors"][0]["detector"] = "combined"
    evaluation["detectors"][1]["kinds"]["news"]["auroc"] = 0.96
    best = Recommendation(recommended, 0.0, 0.06, "news")
    found = typed(evaluation).model_copy(update={"recommended": best})
    (finding,) = [item for item in verdict(found) if not item.ok]
    assert finding.advice == advice
    assert finding.command.endswith(f" --detector {advice.split()[1]}")

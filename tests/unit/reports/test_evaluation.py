"""Every number of the evaluation against scikit-learn, scipy or a plain loop."""

import json

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import mahalanobis
from scipy.special import softmax
from sklearn import metrics

from rubert_ood import storage
from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ood.decision import Thresholds
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.ood.temperature import TemperatureFit
from rubert_ood.reports.curves import CURVE_POINTS
from rubert_ood.reports.evaluate import EXAMPLE_CHARACTERS, Material, evaluate
from rubert_ood.reports.evaluation import (
    EXAMPLES_PER_PAIR,
    Context,
    Evaluation,
    Headline,
)
from rubert_ood.settings import DecisionSettings
from rubert_ood.training.baseline import Baseline

LENGTHS = ["long" if row % 7 else "short" for row in range(200)]
BASELINE = Baseline(accuracy=0.9, macro_f1=0.89)


@pytest.fixture(scope="module")
def texts(splits):
    return [
        f"объявление {row // 2}" for row in range(len(splits["test"].labels_N))
    ]  # every text twice


@pytest.fixture(scope="module")
def measured(model, splits, hard_cases, ood, texts) -> Evaluation:
    cases, hard_case_outputs = hard_cases
    material = Material(
        splits=splits,
        test_ads=LabelledAds(texts, splits["test"].labels_N, {"length": LENGTHS}),
        hard_cases=cases,
        hard_case_outputs=hard_case_outputs,
        ood={kind: ood[kind] for kind in sorted(ood)},
    )
    return evaluate(
        model,
        material,
        baseline=BASELINE,
        reference=Reference(splits["train"], splits["valid"]),
        context=Context(version="v1", base_model="small", num_train=400),
    )


@pytest.fixture(scope="module")
def evaluation(measured) -> dict:
    """What evaluation.json says."""
    return json.loads(storage.to_json(measured))


def of_test_alone(model, test: Outputs, texts: list[str]) -> dict:
    material = Material({"test": test}, LabelledAds(texts, test.labels_N))
    return json.loads(storage.to_json(evaluate(model, material)))


def d2_by_hand(model, cls_NH):
    """Squared Mahalanobis distance to the nearest class mean, one ad and one class at a time."""
    means_CH, precision_HH = model.statistics.means_CH, model.statistics.precision_HH
    rows = np.asarray(cls_NH, dtype=np.float64)
    return np.array(
        [
            min(mahalanobis(row, mean, precision_HH) ** 2 for mean in means_CH)
            for row in rows
        ]
    )


def decide_by_hand(model, part):
    """Return (label, is_ood, confidence, d2) of each ad by the rule of the documentation."""
    p_NC = softmax(
        part.logits_NC.astype(np.float64) / model.temperature.temperature, axis=1
    )
    rule, fitted = model.decision, model.thresholds
    decisions = []
    for p_C, d2 in zip(p_NC, d2_by_hand(model, part.cls_NH), strict=True):
        far = (
            d2 > rule.alpha * fitted.threshold
            and (d2 - fitted.mu) / (fitted.sigma + 1e-9) > rule.z_thr
        )
        is_ood = bool(far and p_C.max() < rule.ood_conf_gate)
        trusted = not is_ood and p_C.max() >= rule.tau_other
        decisions.append(
            (model.labels[p_C.argmax()] if trusted else "Other", is_ood, p_C.max(), d2)
        )
    return decisions


def ece_by_hand(p_NC, labels_N, num_bins=15):
    confidence_N, correct_N = p_NC.max(axis=1), p_NC.argmax(axis=1) == labels_N
    total = 0.0
    for number in range(num_bins):
        inside = (confidence_N > number / num_bins) & (
            confidence_N <= (number + 1) / num_bins
        )
        if inside.any():
            total += inside.mean() * abs(
                correct_N[inside].mean() - confidence_N[inside].mean()
            )
    return total


def test_evaluation_headline_is_recomputed_from_the_rows(evaluation, model, splits):
    headline, test = evaluation["headline"], splits["test"]
    logits_NC, labels_N = test.logits_NC.astype(np.float64), test.labels_N
    p_NC, scaled_NC = (
        softmax(logits_NC, axis=1),
        softmax(logits_NC / model.temperature.temperature, axis=1),
    )
    predicted_N = logits_NC.argmax(axis=1)
    decided = decide_by_hand(model, test)
    valid_d2_N = d2_by_hand(model, splits["valid"].cls_NH)
    expected = {
        "num_test": 200,
        "accuracy": metrics.accuracy_score(labels_N, predicted_N),
        "macro_f1": metrics.f1_score(labels_N, predicted_N, average="macro"),
        "temperature": model.temperature.temperature,
        "nll_before": metrics.log_loss(labels_N, p_NC),
        "nll_after": metrics.log_loss(labels_N, scaled_NC),
        "ece_before": ece_by_hand(p_NC, labels_N),
        "ece_after": ece_by_hand(scaled_NC, labels_N),
        "threshold": np.quantile(valid_d2_N, 0.995),
        "mu": valid_d2_N.mean(),
        "sigma": valid_d2_N.std(ddof=1),
        "ood_rate": np.mean([is_ood for _, is_ood, _, _ in decided]),
        "other_rate": np.mean([label == "Other" for label, _, _, _ in decided]),
        "mean_d2_own_class": (
            splits["train"].cls_NH.shape[1]
        ),  # H: that is how the precision is scaled
    }
    assert {name: headline[name] for name in expected} == pytest.approx(
        expected, rel=1e-5
    )
    mean_d2 = {
        name: d2_by_hand(model, part.cls_NH).mean() for name, part in splits.items()
    }
    assert headline["mean_d2"] == pytest.approx(mean_d2)
    assert headline["at_bound"] is False
    assert (
        0 < headline["other_rate"] < 0.2 < 0.7 < headline["accuracy"] < 1
    )  # the data says something
    limits = (
        1.1 * expected["threshold"],
        expected["mu"] + 4 * expected["sigma"],
    )  # both must be passed
    assert evaluation["d2_limit"] == pytest.approx(max(limits), rel=1e-5)


def test_evaluation_per_class_equals_sklearn(evaluation, model, splits):
    test = splits["test"]
    report = metrics.classification_report(
        test.labels_N,
        test.logits_NC.argmax(axis=1),
        target_names=model.labels,
        output_dict=True,
    )
    assert [row["label"] for row in evaluation["per_class"]] == model.labels
    for row in evaluation["per_class"]:
        expected = report[row["label"]]
        assert (
            row["precision"],
            row["recall"],
            row["f1"],
            row["support"],
        ) == pytest.approx(
            (
                expected["precision"],
                expected["recall"],
                expected["f1-score"],
                expected["support"],
            )
        )


def test_confusions_come_with_the_surest_distinct_ads(evaluation, model, splits, texts):
    test = splits["test"]
    predicted_N, confidence_N = (
        test.logits_NC.argmax(axis=1),
        softmax(test.logits_NC / model.temperature.temperature, axis=1).max(axis=1),
    )
    matrix = metrics.confusion_matrix(test.labels_N, predicted_N)
    assert (
        sum(pair["count"] for pair in evaluation["confusions"])
        == matrix.sum() - np.trace(matrix)
        > 0
    )
    for pair in evaluation["confusions"]:
        true, predicted = (
            model.labels.index(pair["true"]),
            model.labels.index(pair["predicted"]),
        )
        rows = [
            row
            for row in range(200)
            if test.labels_N[row] == true and predicted_N[row] == predicted
        ]
        assert pair["count"] == len(rows) == matrix[true, predicted]
        assert pair["share_of_true"] == pytest.approx(len(rows) / 50)
        by_confidence = sorted(rows, key=lambda row: -confidence_N[row])
        distinct = list(dict.fromkeys(texts[row] for row in by_confidence))
        assert pair["examples"] == distinct[:EXAMPLES_PER_PAIR]
        surest = {texts[row]: row for row in reversed(by_confidence)}
        sure = [confidence_N[surest[text]] for text in pair["examples"]]
        assert pair["confidences"] == pytest.approx(sure)


def test_an_example_ad_is_not_repeated_and_is_cut(model, splits):
    long_texts = ["длинное " * 100] * 200
    evaluation = of_test_alone(model, splits["test"], long_texts)
    assert {tuple(map(len, pair["examples"])) for pair in evaluation["confusions"]} == {
        (EXAMPLE_CHARACTERS,)
    }


def test_curves_follow_the_whole_curve_however_many_classes_there_are():
    """With 60 classes, nearly every threshold lies beyond the interesting part; it must not be
    thinned away."""
    rng = np.random.default_rng(0)
    labels_N = np.arange(900) % 60
    logits_NC = rng.normal(size=(900, 60)) + 4 * np.eye(60)[labels_N]
    model = FittedModel(
        [f"класс {number}" for number in range(60)],
        TemperatureFit(1.0, 1.0, 1.0, at_bound=False),
        MahalanobisStatistics(np.zeros((60, 2)), np.eye(2), 0.0),
        Thresholds(10.0, 5.0, 2.0, np.arange(10.0)),
        DecisionSettings(),
    )
    test = Outputs(logits_NC, rng.normal(size=(900, 2)), labels_N)
    curves = of_test_alone(model, test, ["x"] * 900)["curves"]

    truth, scores = np.eye(60)[labels_N].ravel(), softmax(logits_NC, axis=1).ravel()
    precision, recall, _ = metrics.precision_recall_curve(truth, scores)
    false_positive, true_positive, _ = metrics.roc_curve(truth, scores)
    for points, x, y in (
        (curves["pr"], recall, precision),
        (curves["roc"], false_positive, true_positive),
    ):
        points = np.array(points)
        assert len(points) <= CURVE_POINTS
        assert set(map(tuple, points)) <= set(zip(x, y, strict=True))
        jumps = np.abs(np.diff(x)) + np.abs(np.diff(y))  # of the curve itself
        assert np.abs(np.diff(points, axis=0)).sum(axis=1).max() < jumps.max() + 0.05
        assert metrics.auc(*points.T) == pytest.approx(metrics.auc(x, y), abs=0.005)


def test_histograms_count_every_ad_once(evaluation, model, splits, ood):
    histograms = evaluation["d2_histograms"]
    edges = np.array(histograms["edges"])
    assert np.diff(np.log(edges)) == pytest.approx(
        np.full(60, np.log(edges[-1] / edges[0]) / 60)
    )
    parts = splits | {f"OOD: {kind}": part for kind, part in ood.items()}
    assert list(histograms["counts"]) == [
        "train",
        "valid",
        "test",
        "OOD: news",
        "OOD: talk",
    ]
    for name, counts in histograms["counts"].items():
        d2_N = d2_by_hand(model, parts[name].cls_NH)
        assert sum(counts) == len(d2_N)
        below = [sum(counts[:number]) for number in range(1, 60)]
        assert below == [int((d2_N < edge).sum()) for edge in edges[1:-1]]


def test_evaluation_hard_cases_are_judged_one_by_one(evaluation, model, hard_cases):
    cases, part = hard_cases
    for row, (text, expected), (label, is_ood, confidence, d2) in zip(
        evaluation["hard_cases"], cases, decide_by_hand(model, part), strict=True
    ):
        assert (row["text"], row["expected"], row["label"], row["is_ood"]) == (
            text,
            expected,
            label,
            is_ood,
        )
        assert (row["confidence"], row["d2"]) == pytest.approx((confidence, d2))
        assert row["ok"] is (label == expected)
    assert [row["ok"] for row in evaluation["hard_cases"]] == [True] * 5
    assert evaluation["hard_cases"][-1]["best"] in model.labels


@pytest.mark.parametrize("kind", ["news", "talk"])
def test_ood_kinds_stay_apart(evaluation, model, splits, ood, kind):
    row = next(row for row in evaluation["ood_kinds"] if row["kind"] == kind)
    inside, outside = (
        decide_by_hand(model, splits["test"]),
        decide_by_hand(model, ood[kind]),
    )
    assert row["num_texts"] == len(outside)
    assert row["flagged"] == pytest.approx(
        np.mean([is_ood for _, is_ood, _, _ in outside])
    )
    assert row["caught"] == pytest.approx(
        np.mean([label == "Other" for label, _, _, _ in outside])
    )
    truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    detectors = {
        entry["detector"]: entry["kinds"][kind] for entry in evaluation["detectors"]
    }
    for name, scores in (
        ("Mahalanobis", np.array([d2 for _, _, _, d2 in inside + outside])),
        ("MSP", np.array([1 - confidence for _, _, confidence, _ in inside + outside])),
    ):
        assert detectors[name]["auroc"] == pytest.approx(
            metrics.roc_auc_score(truth, scores)
        )
        assert detectors[name]["aupr_out"] == pytest.approx(
            metrics.average_precision_score(truth, scores)
        )
        caught = [np.mean(scores[truth == 1] >= threshold) for threshold in scores]
        flagged = [np.mean(scores[truth == 0] >= threshold) for threshold in scores]
        fpr95 = min(f for f, c in zip(flagged, caught, strict=True) if c >= 0.95)
        assert detectors[name]["fpr95"] == pytest.approx(fpr95)
    assert metrics.auc(*np.array(row["roc"]).T) == pytest.approx(
        detectors["Mahalanobis"]["auroc"], abs=0.01
    )
    notebook = evaluation["rules"][0]
    assert (notebook["rule"], notebook["chosen"]) == ("notebook", True)
    assert notebook["kinds"][kind]["flagged"] == row["flagged"]


def test_slices_add_up_to_the_whole(evaluation, model, splits):
    decided = decide_by_hand(model, splits["test"])
    correct_N = splits["test"].logits_NC.argmax(axis=1) == splits["test"].labels_N
    assert [(row["trait"], row["value"]) for row in evaluation["slices"]] == [
        ("length", "long"),
        ("length", "short"),
    ]
    for row in evaluation["slices"]:
        rows = [number for number, value in enumerate(LENGTHS) if value == row["value"]]
        assert row["num_test"] == len(rows)
        assert row["accuracy"] == np.mean(correct_N[rows])
        assert row["confidence"] == pytest.approx(np.mean([decided[n][2] for n in rows]))
        assert row["ood_rate"] == np.mean([decided[n][1] for n in rows])
        assert row["other_rate"] == np.mean([decided[n][0] == "Other" for n in rows])


def test_kinds_are_sorted_and_never_averaged(evaluation):
    assert [row["kind"] for row in evaluation["ood_kinds"]] == ["news", "talk"]
    assert evaluation["ood_kinds"][0]["flagged"] < evaluation["ood_kinds"][1]["flagged"]


def test_evaluation_json_keeps_its_keys_and_is_read_back(measured, evaluation):
    assert list(evaluation) == [
        *("format", "context", "labels", "decision", "headline", "baseline", "stack"),
        "per_class",
        *(
            "confusions",
            "reliability_before",
            "reliability_after",
            "curves",
            "risk_coverage",
        ),
        *(
            "d2_histograms",
            "d2_limit",
            "rules",
            "detectors",
            "recommended",
            "slices",
            "hard_cases",
            "ood_kinds",
            "class_limits",
        ),
        "verdict",
    ]
    assert evaluation["context"] == {
        "version": "v1",
        "base_model": "small",
        "num_train": 400,
    }
    assert set(evaluation["confusions"][0]) == {
        *("true", "predicted", "count", "share_of_true", "examples", "confidences")
    }
    assert set(evaluation["detectors"][0]["kinds"]["news"]) == {
        *("auroc", "aupr_out", "aupr_in", "fpr95", "caught")
    }
    assert Evaluation.model_validate_json(storage.to_json(measured)) == measured
    del evaluation["format"]  # as 0.3.0 wrote it
    assert Evaluation.model_validate_json(json.dumps(evaluation)) == measured


def test_a_number_that_is_not_finite_never_reaches_a_report(measured):
    headline = dict(measured.headline) | {"accuracy": float("nan")}
    with pytest.raises(ValidationError, match="finite"):
        Headline(**headline)


def test_test_split_alone_is_enough(model, splits, texts):
    evaluation = of_test_alone(model, splits["test"], texts)
    assert evaluation["baseline"] is None
    assert evaluation["headline"]["mean_d2_own_class"] is None
    assert evaluation["hard_cases"] == evaluation["ood_kinds"] == []
    assert list(evaluation["d2_histograms"]["counts"]) == ["test"]
    assert evaluation["detectors"] == evaluation["slices"] == []
    assert len(evaluation["verdict"]) == 5

import numpy as np
import pytest
from sklearn.metrics import classification_report, f1_score, roc_auc_score

from rubert_ood.ood.metrics import (
    ConfusionPair,
    OodMetrics,
    chance_ece,
    classification_metrics,
    confusion_pairs,
    ece,
    ood_metrics,
    reliability_bins,
)

NAMES = ["А", "Б", "В", "Г"]


def test_classification_metrics_equal_sklearns_report():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    got = classification_metrics(labels, predicted, NAMES)
    report = classification_report(
        labels,
        predicted,
        labels=range(4),
        target_names=NAMES,
        output_dict=True,
        zero_division=0,
    )
    assert got.accuracy == np.mean(labels == predicted)
    assert got.macro_f1 == f1_score(labels, predicted, average="macro")
    for row in got.per_class:
        expected = report[row.label]
        assert [row.precision, row.recall, row.f1] == pytest.approx(
            [expected["precision"], expected["recall"], expected["f1-score"]]
        )
        assert row.support == expected["support"]
    assert got.per_class[3].support == 0


def test_confusion_pairs_are_counted_and_ordered():
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 1, 2])
    assert confusion_pairs(labels, predicted, NAMES) == [
        ConfusionPair(true="А", predicted="Б", count=2, share_of_true=2 / 3),
        ConfusionPair(true="Б", predicted="А", count=1, share_of_true=1 / 2),
    ]


def test_ece_equals_brute_force():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(4, 0.5), 500)
    labels = rng.integers(0, 4, 500)
    expected = 0.0
    for k in range(15):
        inside = [i for i in range(500) if k / 15 < p[i].max() <= (k + 1) / 15]
        if inside:
            accuracy = np.mean([p[i].argmax() == labels[i] for i in inside])
            expected += (
                len(inside) / 500 * abs(accuracy - np.mean([p[i].max() for i in inside]))
            )
    assert ece(p, labels) == pytest.approx(expected, rel=1e-9)
    assert sum(item.count for item in reliability_bins(p, labels)) == 500


def test_ece_of_certain_and_right_is_zero():
    assert ece(np.eye(4), np.arange(4)) == 0.0
    assert ece(np.eye(4), (np.arange(4) + 1) % 4) == 1.0


def test_ood_metrics_equal_brute_force():
    rng = np.random.default_rng(2)
    inside, outside = (
        rng.normal(size=300).round(1),
        (rng.normal(size=200) + 1.5).round(1),
    )  # rounded: with ties
    got = ood_metrics(inside, outside)
    wins = np.mean([(o > i) + 0.5 * (o == i) for o in outside for i in inside])
    assert got.auroc == pytest.approx(wins)
    rates = [
        np.mean(inside >= t)
        for t in np.unique(np.r_[inside, outside])
        if np.mean(outside >= t) >= 0.95
    ]
    assert got.fpr95 == pytest.approx(min(rates))
    assert 1 - roc_auc_score(
        np.r_[np.ones(300), np.zeros(200)], np.r_[inside, outside]
    ) == pytest.approx(got.auroc)
    thresholds = np.unique(np.r_[inside, outside])[::-1]
    for name, positive, negative, sign in (
        ("aupr_out", outside, inside, 1),
        ("aupr_in", -inside, -outside, -1),
    ):
        area, recall_before = 0.0, 0.0
        for t in sorted(sign * thresholds, reverse=True):
            caught, wrong = np.sum(positive >= t), np.sum(negative >= t)
            recall = caught / len(positive)
            area += (recall - recall_before) * caught / max(caught + wrong, 1)
            recall_before = recall
        assert getattr(got, name) == pytest.approx(area)


def test_ood_metrics_of_separated_scores_are_perfect():
    assert ood_metrics(np.arange(5.0), np.arange(5.0) + 10) == OodMetrics(
        auroc=1, aupr_out=1, aupr_in=1, fpr95=0
    )


@pytest.mark.parametrize("num_ads", [300, 4000])
def test_chance_ece_is_about_that_of_labels_drawn_by_the_probabilities(num_ads):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(num_ads, 5)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    drawn = []
    for _ in range(200):
        labels = (p.cumsum(1) < rng.random((num_ads, 1))).sum(1)
        drawn.append(ece(p, labels))
    assert chance_ece(p) == pytest.approx(np.mean(drawn), rel=0.06)


def test_chance_ece_of_sure_answers_is_0():
    assert chance_ece(np.eye(4)) == 0

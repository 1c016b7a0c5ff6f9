"""The comparison of detectors and rules against sklearn and against the detectors called one by
one."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rubert_ood.ood import comparison
from rubert_ood.ood.comparison import compare_detectors, compare_rules, leave_classes_out
from rubert_ood.ood.detectors import COMBINED, MAHALANOBIS, TITLES, fit_detectors
from rubert_ood.ood.fit import fit
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.settings import DecisionSettings, FitSettings

C, H = 10, 14
CENTRES_CH = np.eye(C, H) * 4


def ads(num: int, seed: int, *, noise: float = 1.0, off: float = 0.0) -> Outputs:
    rng = np.random.default_rng(seed)
    labels_N = np.arange(num) % C
    cls_NH = CENTRES_CH[labels_N] + noise * rng.normal(size=(num, H))
    cls_NH[:, C:] += off
    logits_NC = cls_NH @ CENTRES_CH.T / (4 + off)
    tokens_NH = cls_NH + rng.normal(size=cls_NH.shape) / 2
    logits_NC, cls_NH, tokens_NH = (
        array.astype(np.float32) for array in (logits_NC, cls_NH, tokens_NH)
    )
    return Outputs(logits_NC, cls_NH, labels_N, tokens_NH)


TRAIN, VALID, TEST = ads(600, 1), ads(300, 2), ads(400, 3)
KINDS = {"far": ads(60, 4, off=6.0), "near": ads(50, 5, noise=1.4)}


@pytest.fixture(scope="module")
def fitted():
    statistics = fit_mahalanobis(TRAIN.cls_NH, TRAIN.labels_N, C)
    return fit(
        statistics,
        VALID,
        labels=[str(c) for c in range(C)],
        settings=FitSettings(),
        decision=DecisionSettings(conformal_alpha=0.05),
    )


def test_comparison_measures_every_detector_on_the_same_ads(fitted):
    entries = compare_detectors(fitted, Reference(TRAIN, VALID), test=TEST, kinds=KINDS)
    detectors = fit_detectors(
        TRAIN,
        statistics=fitted.statistics,
        temperature=fitted.temperature.temperature,
    )
    combined = [TITLES[name] for name in COMBINED]
    assert [entry.detector for entry in entries] == [*detectors, *combined]
    for entry in entries[:-2]:
        score = detectors[entry.detector]
        inside_N = score(TEST)
        threshold = np.sort(score(VALID))[-15]  # 15 of 301 are 5 %, this ad among them
        assert entry.flagged == np.mean(inside_N > threshold)
        for kind, outside in KINDS.items():
            outside_N = score(outside)
            truth = np.r_[np.zeros(len(inside_N)), np.ones(len(outside_N))]
            expected = roc_auc_score(truth, np.r_[inside_N, outside_N])
            assert entry.kinds[kind].auroc == pytest.approx(expected)
            assert entry.kinds[kind].caught == np.mean(outside_N > threshold)
    by_name = {entry.detector: entry for entry in entries}
    assert (
        by_name[MAHALANOBIS].kinds["far"].auroc > 0.99 > by_name["MSP"].kinds["far"].auroc
    )


def test_comparison_hides_the_classes_left_out_from_the_detectors():
    """By hand: fit on the other classes, and see how far the ads of the fold are kept apart."""
    results = leave_classes_out(Reference(TRAIN, VALID), TEST, temperature=1.0)
    fold_C = np.random.default_rng(0).permutation(C) % comparison.NUM_FOLDS
    aurocs = []
    for fold in range(comparison.NUM_FOLDS):
        known_N = fold_C[TRAIN.labels_N] != fold
        numbers = {
            c: number for number, c in enumerate(c for c in range(C) if fold_C[c] != fold)
        }
        labels = np.array([numbers[c] for c in TRAIN.labels_N[known_N]])
        d2_N, _ = fit_mahalanobis(TRAIN.cls_NH[known_N], labels, len(numbers)).distance(
            TEST.cls_NH
        )
        aurocs.append(roc_auc_score(fold_C[TEST.labels_N] == fold, d2_N))
    assert results[MAHALANOBIS].auroc == pytest.approx(np.mean(aurocs))
    assert results[MAHALANOBIS].auroc > 0.8
    assert results["MSP"].auroc != results[MAHALANOBIS].auroc


def test_comparison_with_too_few_classes_leaves_none_out():
    few = Outputs(TRAIN.logits_NC[:, :9], TRAIN.cls_NH, TRAIN.labels_N % 9)
    assert leave_classes_out(Reference(few, few), few, temperature=1.0) == {}


def test_comparison_with_a_class_without_a_reference_row_goes_on(fitted):
    rows = np.flatnonzero(TRAIN.labels_N != 4)
    partly = Outputs(TRAIN.logits_NC[rows], TRAIN.cls_NH[rows], TRAIN.labels_N[rows])
    entries = compare_detectors(fitted, Reference(partly, VALID), test=TEST, kinds=KINDS)
    assert all(0 <= entry.left_out.auroc <= 1 for entry in entries)


def test_comparison_gives_rates_of_both_rules_before_and_after_the_confidence_gate(
    fitted,
):
    notebook, conformal = compare_rules(fitted, test=TEST, kinds=KINDS)
    assert (notebook.rule, notebook.chosen, conformal.rule, conformal.chosen) == (
        "notebook",
        True,
        "conformal",
        False,
    )
    d2_N, _ = fitted.statistics.distance(TEST.cls_NH)
    p_N = [(1 + np.sum(fitted.thresholds.calibration_d2 >= d2)) / 301 for d2 in d2_N]
    assert conformal.test.far == np.mean(np.array(p_N) <= 0.05)
    assert 0 < conformal.test.flagged <= conformal.test.far
    assert conformal.kinds["far"].flagged >= notebook.kinds["far"].flagged
    assert conformal.test.other >= conformal.test.flagged
    assert conformal.possible


def test_comparison_marks_a_rule_with_too_few_calibration_rows(fitted):
    strict = DecisionSettings(conformal_alpha=0.001)
    model = fit(
        fitted.statistics,
        VALID,
        labels=fitted.labels,
        settings=FitSettings(),
        decision=strict,
    )
    notebook, conformal = compare_rules(model, test=TEST, kinds={})
    assert (notebook.possible, conformal.possible, conformal.test.far) == (
        True,
        False,
        0.0,
    )

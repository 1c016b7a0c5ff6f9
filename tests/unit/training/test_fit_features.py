"""What is fitted on stored features, against sklearn on all rows at once."""

import logging

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from rubert_ood.ads.dataset import Dataset, LabelledAds
from rubert_ood.ads.text import TextCleaner
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DecisionSettings, FitSettings
from rubert_ood.training import features as module
from rubert_ood.training import fit_features as fit_module
from rubert_ood.training.features import LocalFeatures
from rubert_ood.training.fit_features import (
    fit_features,
    fit_statistics,
    fitting_splits,
    measured_splits,
)

LABELS = ["а", "б", "в"]


def _outputs(num: int, seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    labels_N = np.arange(num) % 3
    cls_NH = 3 * np.eye(3, 5)[labels_N] + rng.normal(size=(num, 5))
    return Outputs(cls_NH[:, :3].astype(np.float32), cls_NH.astype(np.float32), labels_N)


@pytest.mark.parametrize("batch", [50, 10_000])
def test_statistics_from_sums_of_batches_are_those_of_all_rows_at_once(
    monkeypatch, batch
):
    monkeypatch.setattr(module, "SUM_ADS", batch)
    train = _outputs(300, 1)
    statistics = fit_statistics(
        LocalFeatures({"valid": _outputs(9, 2), "train": train}), LABELS
    )
    x_NH = train.cls_NH.astype(np.float64)
    means_CH = np.stack([x_NH[train.labels_N == c].mean(0) for c in range(3)])
    estimate = LedoitWolf().fit(x_NH - means_CH[train.labels_N])
    np.testing.assert_allclose(statistics.means_CH, means_CH, rtol=1e-9, atol=1e-12)
    assert statistics.shrinkage == pytest.approx(estimate.shrinkage_, rel=1e-8)


@pytest.mark.parametrize("rows", ["valid", "calibration"])
def test_thresholds_rest_on_calibration_rows_where_there_are_some(rows):
    outputs = {"train": _outputs(200, 1), "valid": _outputs(60, 2)}
    if rows == "calibration":
        outputs["calibration"] = _outputs(80, 3)
    fitted = fit_features(
        LocalFeatures(outputs),
        outputs,
        LABELS,
        settings=FitSettings(),
        decision=DecisionSettings(),
    )
    d2_N, _ = fitted.statistics.distance(outputs[rows].cls_NH)
    assert fitted.calibrated_on == rows
    np.testing.assert_allclose(fitted.thresholds.calibration_d2, np.sort(d2_N))


def test_classes_of_few_train_ads_are_named(caplog):
    train = _outputs(31, 1)
    few = train.take(np.flatnonzero((train.labels_N != 1) | (np.arange(31) < 15)))
    with caplog.at_level(logging.WARNING):
        fit_statistics(LocalFeatures({"train": few}), LABELS)
    assert "fits 1 class on fewer than 10 training ads each: б" in caplog.text


def test_fitting_splits_are_those_that_the_dataset_has():
    ads = LabelledAds(["x"], np.zeros(1, np.int64))
    dataset = Dataset(LABELS, TextCleaner(), ads, ads, ads)
    assert list(fitting_splits(dataset)) == ["train", "valid"]
    dataset = Dataset(LABELS, TextCleaner(), ads, ads, ads, calibration=ads)
    assert list(fitting_splits(dataset)) == ["train", "valid", "calibration"]


def test_measured_splits_are_samples_of_all_but_train(monkeypatch):
    monkeypatch.setattr(fit_module, "MAX_MEASURED_ADS", 10)
    parts = []
    for size in (40, 25, 10):
        texts = [f"вещь {number}" for number in range(size)]
        parts.append(LabelledAds(texts, np.arange(size) % 3))
    dataset = Dataset(LABELS, TextCleaner(), *parts)
    measured = measured_splits(dataset)
    assert measured.train is dataset.train
    assert (len(measured.valid), len(measured.test)) == (10, 10)
    assert measured.calibration is None
    numbers = [int(text.split()[1]) for text in measured.valid.texts]
    assert numbers == sorted(set(numbers))
    assert measured.valid.labels_N.tolist() == [number % 3 for number in numbers]
    assert measured.test.texts == dataset.test.texts


def test_fit_features_with_a_detector_fits_it_on_train_and_ranks_calibration_ads():
    outputs = {"train": _outputs(200, 1), "calibration": _outputs(99, 3)}
    outputs["valid"] = _outputs(60, 2)
    fitted = fit_features(
        LocalFeatures(outputs),
        outputs,
        LABELS,
        settings=FitSettings(),
        decision=DecisionSettings(rule="conformal", detector="nearest_neighbour"),
    )
    unit = {}
    for name in ("train", "calibration"):
        x_NH = outputs[name].cls_NH.astype(np.float64)
        unit[name] = x_NH / np.linalg.norm(x_NH, axis=1, keepdims=True)
    away_NN = np.linalg.norm(unit["calibration"][:, None] - unit["train"][None], axis=2)
    ranking = fitted.detector.calibration["nearest_neighbour"]
    np.testing.assert_allclose(ranking, np.sort(away_NN.min(axis=1)), atol=1e-3)
    assert fitted.detector.name == "nearest_neighbour"

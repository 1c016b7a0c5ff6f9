"""The file of the detector: what is written is read, and what does not fit is refused."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from safetensors.numpy import load_file

from rubert_ood.bundle.detector import read_detector, write_detector
from rubert_ood.bundle.files import DETECTOR, write_arrays
from rubert_ood.settings import DetectorName
from tests.unit.ood.test_chosen import STATISTICS, TEST, fitted

OTHERS = [name for name in get_args(DetectorName) if name != "mahalanobis"]


def read(folder, name):
    return read_detector(str(folder), name, statistics=STATISTICS, temperature=1.3)


@pytest.mark.parametrize("name", OTHERS)
def test_detector_that_is_written_is_read_with_the_same_p(tmp_path, name):
    detector = fitted(name).detector
    write_detector(str(tmp_path), detector)
    temperature = fitted(name).temperature.temperature
    got = read_detector(
        str(tmp_path), name, statistics=STATISTICS, temperature=temperature
    )
    np.testing.assert_array_equal(got.p(TEST), detector.p(TEST))
    assert [*got.parts] == [*detector.parts]


def test_detector_of_mahalanobis_has_no_file(tmp_path):
    assert read(tmp_path, "mahalanobis") is None


def test_detector_of_another_name_is_refused(tmp_path):
    write_detector(str(tmp_path), fitted("energy").detector)
    with pytest.raises(ValueError, match="not hold the scores of the detector msp: msp"):
        read(tmp_path, "msp")


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (np.array([3.0, 1.0]), "ascending"),
        (np.array([3.0]), "at least 2"),
        (np.array([1.0, np.nan]), "NaN"),
    ],
)
def test_detector_with_damaged_scores_is_refused(tmp_path, scores, reason):
    write_arrays(str(tmp_path), DETECTOR, {"calibration.energy": scores})
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, "energy")


def test_detector_with_scores_of_unlike_numbers_is_refused(tmp_path):
    detector = fitted("combined").detector
    cut = replace(detector, combined_n=detector.combined_n[:-1])
    write_detector(str(tmp_path), cut)
    with pytest.raises(ValueError, match="different numbers"):
        read(tmp_path, "combined")


@pytest.mark.parametrize("lacking", ["mahalanobis", "nearest_neighbour", "energy"])
def test_detector_that_lacks_one_of_its_parts_is_refused(tmp_path, lacking):
    write_detector(str(tmp_path), fitted("combined").detector)
    arrays = load_file(tmp_path / DETECTOR)
    kept = {name: array for name, array in arrays.items() if lacking not in name}
    write_arrays(str(tmp_path), DETECTOR, kept)
    with pytest.raises(ValueError, match="mahalanobis, nearest_neighbour, energy"):
        read(tmp_path, "combined")


@pytest.mark.parametrize("factor", [0, 0.01, 1e6])
def test_detector_with_sums_that_cannot_be_is_refused(tmp_path, factor):
    detector = fitted("combined").detector
    wrong = replace(detector, combined_n=detector.combined_n * factor)
    write_detector(str(tmp_path), wrong)
    with pytest.raises(ValueError, match="what is not a sum of 1 / p"):
        read(tmp_path, "combined")


@pytest.mark.parametrize("factor", [0, 1.01, 1e6])
def test_detector_whose_ads_are_not_of_length_1_is_refused(tmp_path, factor):
    detector = fitted("knn").detector
    reference_RH = detector.parts["knn"].reference_RH * np.float32(factor)
    part = replace(detector.parts["knn"], reference_RH=reference_RH)
    write_detector(str(tmp_path), replace(detector, parts={"knn": part}))
    with pytest.raises(ValueError, match="vectors whose length is not 1"):
        read(tmp_path, "knn")


def test_detector_whose_k_is_beyond_its_ads_is_refused(tmp_path):
    detector = fitted("knn").detector
    part = replace(detector.parts["knn"], k=999)
    write_detector(str(tmp_path), replace(detector, parts={"knn": part}))
    with pytest.raises(ValueError, match=r"knn\.k is 999, and there are 300 ads"):
        read(tmp_path, "knn")

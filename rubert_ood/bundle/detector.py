"""The file of the detector that decides, where that is not Mahalanobis.

Shapes: C classes, H hidden, R reference ads, n calibration ads.
"""

from collections.abc import Mapping

import numpy as np

from rubert_ood.bundle.arrays import Layout, layouts, read_arrays
from rubert_ood.bundle.files import DETECTOR, write_arrays
from rubert_ood.ood.chosen import ChosenDetector
from rubert_ood.ood.detectors import (
    COMBINED,
    SINGLE,
    Detector,
    Mahalanobis,
    NearestNeighbours,
    RelativeMahalanobis,
    UnitMahalanobis,
    of_logits,
)
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.settings import DetectorName

SCORES = "calibration."
"""Prefix of the arrays that hold the scores of the calibration ads, by detector."""
GAUSSIANS = {
    "mahalanobis++": "unit",
    "mahalanobis++_tokens": "tokens",
    "relative_mahalanobis": "background",
}
"""Prefix of the arrays of a detector that fits means and a precision matrix."""
SUMS = "combined.harmonic"
NEIGHBOURS = ("knn", "nearest_neighbour")
"""Detectors that keep train ads."""
ROUNDING = 1e-4
"""Relative: of unit vectors in float32, and of sums."""


def write_detector(folder: str, detector: ChosenDetector) -> None:
    """Write the arrays of its parts, and their scores of the calibration ads."""
    arrays: dict[str, np.ndarray] = {}
    for name, part in detector.parts.items():
        arrays |= _arrays_of(name, part)
        arrays[f"{SCORES}{name}"] = detector.calibration[name]
    if detector.combined_n is not None:
        arrays[SUMS] = detector.combined_n
    write_arrays(folder, DETECTOR, arrays)


def _arrays_of(name: DetectorName, part: Detector) -> dict[str, np.ndarray]:
    match part:
        case UnitMahalanobis(statistics):
            return _written(name, statistics)
        case RelativeMahalanobis(_, background):
            return _written(name, background)
        case NearestNeighbours():
            return {
                f"{name}.reference": part.reference_RH,
                f"{name}.k": np.array([part.k]),
            }
    return {}


def _written(name: str, statistics: MahalanobisStatistics) -> dict[str, np.ndarray]:
    prefix = GAUSSIANS[name]
    return {
        f"{prefix}.means": statistics.means_CH,
        f"{prefix}.precision": statistics.precision_HH,
        f"{prefix}.shrinkage": np.array([statistics.shrinkage]),
    }


def read_detector(
    folder: str,
    name: DetectorName,
    *,
    statistics: MahalanobisStatistics,
    temperature: float,
) -> ChosenDetector | None:
    """Read the file; None if Mahalanobis decides.

    Raises ValueError when it does not hold what the detector needs.
    """
    if name == "mahalanobis":
        return None
    found = layouts(folder, DETECTOR)
    parts = [part for part in SINGLE if f"{SCORES}{part}" in found]
    wanted = COMBINED.get(name, (name,))
    if set(parts) != set(wanted):
        raise ValueError(
            f"it does not hold the scores of the detector {name}: {', '.join(wanted)}"
        )
    expected = _expected(parts, name in COMBINED, statistics.means_CH.shape[1])
    arrays = read_arrays(folder, DETECTOR, expected)
    scores = {part: _ascending(arrays, f"{SCORES}{part}") for part in parts}
    sums = _ascending(arrays, SUMS) if name in COMBINED else None
    lengths = {len(scores_n) for scores_n in scores.values()}
    if len(lengths) > 1 or (sums is not None and lengths != {len(sums)}):
        raise ValueError("its scores are of different numbers of calibration ads")
    if sums is not None:
        _check_sums(sums, len(parts))
    detectors = {part: _detector(part, arrays, statistics, temperature) for part in parts}
    return ChosenDetector(name, detectors, scores, sums)


def _expected(parts: list[DetectorName], is_combined: bool, hidden: int) -> dict:
    expected = {f"{SCORES}{part}": Layout("F64", (None,)) for part in parts}
    if is_combined:
        expected[SUMS] = Layout("F64", (None,))
    for part in NEIGHBOURS:
        if part in parts:
            expected[f"{part}.reference"] = Layout("F32", (None, hidden))
            expected[f"{part}.k"] = Layout("I64", (1,))
    for part, prefix in GAUSSIANS.items():
        if part in parts:
            expected[f"{prefix}.means"] = Layout("F64", (None, hidden))
            expected[f"{prefix}.precision"] = Layout("F64", (hidden, hidden))
            expected[f"{prefix}.shrinkage"] = Layout("F64", (1,))
    return expected


def _ascending(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    scores_n = arrays[name]
    if len(scores_n) < 2 or (np.diff(scores_n) < 0).any():
        raise ValueError(f"the array {name} needs at least 2 scores in ascending order")
    return scores_n


def _check_sums(sums_n: np.ndarray, num_parts: int) -> None:
    """Raise ValueError unless each can be a sum of 1 / p, where p is from 1 / (n + 1) to 1."""
    largest = num_parts * (len(sums_n) + 1) * (1 + ROUNDING)
    if not num_parts <= sums_n[0] <= sums_n[-1] <= largest:
        raise ValueError(f"the array {SUMS} holds what is not a sum of 1 / p")


def _detector(
    name: DetectorName,
    arrays: Mapping[str, np.ndarray],
    statistics: MahalanobisStatistics,
    temperature: float,
) -> Detector:
    match name:
        case "mahalanobis++":
            return UnitMahalanobis(_gaussian(name, arrays))
        case "mahalanobis++_tokens":
            return UnitMahalanobis(_gaussian(name, arrays), of_tokens=True)
        case "relative_mahalanobis":
            return RelativeMahalanobis(statistics, _gaussian(name, arrays))
        case "knn" | "nearest_neighbour":
            return _neighbours(name, arrays)
        case "mahalanobis":
            return Mahalanobis(statistics)
    return of_logits(name, temperature)


def _neighbours(name: str, arrays: Mapping[str, np.ndarray]) -> NearestNeighbours:
    reference_RH, k = arrays[f"{name}.reference"], int(arrays[f"{name}.k"][0])
    if not 1 <= k <= len(reference_RH):
        raise ValueError(f"{name}.k is {k}, and there are {len(reference_RH):,} ads")
    lengths_R = np.linalg.norm(reference_RH, axis=1)
    if np.abs(lengths_R - 1).max() > ROUNDING:
        raise ValueError(f"{name}.reference holds vectors whose length is not 1")
    return NearestNeighbours(reference_RH, k)


def _gaussian(name: str, arrays: Mapping[str, np.ndarray]) -> MahalanobisStatistics:
    prefix = GAUSSIANS[name]
    return MahalanobisStatistics(
        arrays[f"{prefix}.means"],
        arrays[f"{prefix}.precision"],
        float(arrays[f"{prefix}.shrinkage"][0]),
    )

"""Scores of the detector that decides as tensors where the network runs, in float64.

The steps of ood/mahalanobis.py and ood/detectors.py. Shapes: N texts, C classes, H hidden, R
reference ads, P parts of the detector.
"""

import torch

from rubert_ood.classifier.classifier import Answer, Tensors
from rubert_ood.classifier.precision import Device
from rubert_ood.ood.chosen import ChosenDetector
from rubert_ood.ood.detectors import (
    NEIGHBOUR_ROWS,
    SHORTEST,
    Detector,
    Energy,
    Mahalanobis,
    MaxLogit,
    Msp,
    NearestNeighbours,
    RelativeMahalanobis,
    UnitMahalanobis,
)
from rubert_ood.ood.mahalanobis import MahalanobisStatistics


class DeviceGaussians:
    """Class means and a precision matrix, on the device of the network."""

    def __init__(self, statistics: MahalanobisStatistics, device: Device) -> None:
        self.means_CH = device.put(statistics.means_CH)
        self.centre_H = device.put(statistics.centre_H)
        self.directions_CH = device.put(statistics.directions_CH)
        self.offsets_C = device.put(statistics.offsets_C)
        self.factor_HH = device.put(statistics.factor_HH)
        self.search_error = statistics.search_error

    def distance(self, x_NH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return d2 to the nearest class, and whether another one may be the nearest: (N,) each."""
        centred_NH = x_NH - self.centre_H
        halves_NC = self.offsets_C - centred_NH @ self.directions_CH.T
        least_N, nearest_N = halves_NC.min(dim=1)
        whitened_NH = (x_NH - self.means_CH[nearest_N]) @ self.factor_HH
        factor, longest = self.search_error
        slack_N = factor * (torch.linalg.vector_norm(centred_NH, dim=1) + longest)
        is_close_NC = halves_NC <= (least_N + slack_N)[:, None]
        return whitened_NH.square().sum(1), is_close_NC.sum(1) > 1


class DeviceDetector:
    """The parts of a detector, on the device of the network."""

    def __init__(self, detector: ChosenDetector, device: Device) -> None:
        self._parts = [_Part(part, device) for part in detector.parts.values()]

    def scores(self, found: Tensors, d2_N: torch.Tensor) -> torch.Tensor:
        """Return the score of each part, float64 (N, P)."""
        found = Answer(*(outputs.double() for outputs in found))
        scores = [part.score(found, d2_N) for part in self._parts]
        return torch.stack(scores, dim=1)


class _Part:
    """One detector and its arrays."""

    def __init__(self, detector: Detector, device: Device) -> None:
        self._detector = detector
        match detector:
            case UnitMahalanobis(statistics):
                self._gaussians = DeviceGaussians(statistics, device)
            case RelativeMahalanobis(_, background):
                self._gaussians = DeviceGaussians(background, device)
            case NearestNeighbours(reference_RH, _):
                self._reference_RH = device.put(reference_RH)

    def score(self, found: Tensors, d2_N: torch.Tensor) -> torch.Tensor:
        """Return the score of each text, float64 (N,); all are float64."""
        match self._detector:
            case Mahalanobis():
                return d2_N
            case UnitMahalanobis(_, of_tokens):
                features_NH = found.tokens if of_tokens else found.cls
                return self._gaussians.distance(_unit(features_NH))[0]
            case RelativeMahalanobis():
                return d2_N - self._gaussians.distance(found.cls)[0]
            case NearestNeighbours(_, k):
                return self._neighbour_distance(_unit(found.cls).float(), k)
        return _of_logits(self._detector, found.logits)

    def _neighbour_distance(self, unit_NH: torch.Tensor, k: int) -> torch.Tensor:
        found = []
        for unit_nH in unit_NH.split(NEIGHBOUR_ROWS):
            cosines_nR = unit_nH @ self._reference_RH.T
            found.append(cosines_nR.topk(k, dim=1).values[:, -1])
        return (2 - 2 * torch.cat(found).double()).clamp_min(0).sqrt()


def _of_logits(detector: Detector, logits_NC: torch.Tensor) -> torch.Tensor:
    match detector:
        case Msp(temperature):
            return 1 - torch.softmax(logits_NC / temperature, dim=1).amax(1)
        case MaxLogit():
            return -logits_NC.amax(1)
        case Energy():
            return -torch.logsumexp(logits_NC, dim=1)
    raise TypeError(f"{type(detector).__name__} has no form on a device")


def _unit(features_NH: torch.Tensor) -> torch.Tensor:
    lengths_N = torch.linalg.vector_norm(features_NH, dim=1)
    return features_NH / lengths_N.clamp_min(SHORTEST)[:, None]

"""Scores of detectors as tensors beside numpy's."""

from typing import get_args

import numpy as np
import pytest
import torch

from rubert_ood.classifier.classifier import Answer
from rubert_ood.classifier.device_decision import DeviceDecision
from rubert_ood.classifier.precision import Device
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DetectorName
from tests.unit.classifier.test_attention import DEVICES
from tests.unit.ood.test_chosen import FAR, TEST, fitted
from tests.unit.ood.test_limits import by_class


def answer(outputs: Outputs, device: Device) -> Answer[torch.Tensor]:
    """What the network would leave on a device."""
    arrays = outputs.logits_NC, outputs.cls_NH, outputs.tokens_NH
    return Answer(*(device.put(array) for array in arrays))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", get_args(DetectorName))
def test_device_detector_decides_as_numpy_does(name, device):
    model = fitted(name)
    here = Device(torch.device(device), "fp32")
    decision = DeviceDecision(model, here)
    for outputs in (TEST, FAR):
        got = decision.of(answer(outputs, here), here.mark()).decide(model)
        expected = model.decide(outputs)
        np.testing.assert_allclose(got.ood_p_N, expected.ood_p_N, atol=1e-12)
        np.testing.assert_array_equal(got.is_ood_N, expected.is_ood_N)
        np.testing.assert_allclose(got.ood_distance_N, expected.ood_distance_N)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["combined", "energy"])
def test_device_detector_with_limits_by_class_decides_as_numpy_does(name, device):
    model = by_class(fitted(name))
    here = Device(torch.device(device), "fp32")
    decision = DeviceDecision(model, here)
    got = decision.of(answer(TEST, here), here.mark()).decide(model)
    expected = model.decide(TEST)
    np.testing.assert_array_equal(got.is_far_N, expected.is_far_N)
    np.testing.assert_array_equal(got.label_N, expected.label_N)
    assert 0 < got.is_far_N.sum() < len(got.is_far_N)


@pytest.mark.parametrize("name", get_args(DetectorName))
def test_device_detector_gives_the_scores_of_numpy(name):
    model = fitted(name)
    if model.detector is None:
        assert name == "mahalanobis"
        return
    here = Device(torch.device("cpu"), "fp32")
    decision = DeviceDecision(model, here)
    got = decision.of(answer(TEST, here), here.mark()).detector_scores.numpy()
    for column, part in enumerate(model.detector.parts.values()):
        expected = part(TEST)
        np.testing.assert_allclose(got[:, column], expected, rtol=1e-5)

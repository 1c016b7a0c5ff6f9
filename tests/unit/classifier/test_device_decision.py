"""Distance and best classes as tensors beside ood.decision.decide, which is numpy's."""

from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from rubert_ood.classifier import attention, windows
from rubert_ood.classifier.attention import flash, small_tiles
from rubert_ood.classifier.checkpoint import load_for_scoring
from rubert_ood.classifier.classifier import Answer, Classifier
from rubert_ood.classifier.device_decision import DeviceDecision
from rubert_ood.classifier.precision import Device
from rubert_ood.classifier.windows import Windows, cut
from rubert_ood.errors import BundleError
from rubert_ood.ood.class_limits import ClassLimits
from rubert_ood.ood.decision import Decisions, fit_thresholds
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.temperature import TemperatureFit
from rubert_ood.predictor import Model
from rubert_ood.settings import DecisionSettings, TextSettings
from tests.unit.classifier.test_attention import DEVICES, plain_varlen

NUM_ADS, NUM_CLASSES, HIDDEN = 400, 7, 12


def fitted_model(means_CH: np.ndarray, precision_HH: np.ndarray, **rule) -> FittedModel:
    rng = np.random.default_rng(3)
    return FittedModel(
        [f"class {number}" for number in range(len(means_CH))],
        TemperatureFit(1.7, 1.0, 1.0, False),
        MahalanobisStatistics(means_CH, precision_HH, 0.1),
        fit_thresholds(rng.chisquare(HIDDEN, 300)),
        DecisionSettings(**rule),
    )


def random_parts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means, a precision matrix and CLS vectors around the means."""
    rng = np.random.default_rng(0)
    means_CH = rng.normal(size=(NUM_CLASSES, HIDDEN)) * 3
    root_HH = rng.normal(size=(HIDDEN, HIDDEN))
    chosen = rng.integers(0, NUM_CLASSES, NUM_ADS)
    cls_NH = means_CH[chosen] + rng.normal(size=(NUM_ADS, HIDDEN))
    return means_CH, root_HH @ root_HH.T + np.eye(HIDDEN), cls_NH.astype(np.float32)


def case(name: str) -> tuple[FittedModel, np.ndarray, np.ndarray]:
    """Return a fitted model, logits (N, C) and CLS (N, H), float32."""
    means_CH, precision_HH, cls_NH = random_parts()
    rng = np.random.default_rng(1)
    logits_NC = rng.normal(size=(NUM_ADS, NUM_CLASSES)).astype(np.float32) * 2
    rule = {}
    if name == "equal logits":
        logits_NC = np.round(logits_NC)
        logits_NC[:9] = 0
    elif name == "classes at one place":
        means_CH[3] = means_CH[1]
        means_CH[5] = means_CH[1]
    elif name == "half way between two means":
        means_CH = np.round(means_CH)
        cls_NH[:50] = (means_CH[0] + means_CH[1]) / 2
    elif name == "far from a centre that is far itself":
        means_CH, cls_NH = means_CH + 1e4, cls_NH + np.float32(1e4)
    elif name == "precision of unlike scales":
        precision_HH = np.diag(10.0 ** np.arange(-6, HIDDEN - 6))
    elif name == "one class":
        means_CH, logits_NC = means_CH[:1], logits_NC[:, :1]
    elif name == "ads at a mean":
        cls_NH[:] = means_CH.astype(np.float32)[2]
        means_CH = means_CH.astype(np.float32).astype(float)
    elif name == "conformal, every far ad":
        rule = {"rule": "conformal", "ood_conf_gate": 1.01, "top_k": 50}
    elif name == "limits by class":
        rule = {"rule": "conformal", "ood_conf_gate": 1.01}
        fitted = fitted_model(means_CH, precision_HH, **rule)
        p_C = np.linspace(0.0, 0.9, NUM_CLASSES)
        limits = ClassLimits(p_C, np.zeros(NUM_CLASSES, int), np.zeros(NUM_CLASSES, bool))
        thresholds = replace(fitted.thresholds, by_class=limits)
        return replace(fitted, thresholds=thresholds), logits_NC, cls_NH
    elif name == "no ads":
        cls_NH, logits_NC = cls_NH[:0], logits_NC[:0]
    return fitted_model(means_CH, precision_HH, **rule), logits_NC, cls_NH


CASES = [
    "random",
    "equal logits",
    "classes at one place",
    "half way between two means",
    "far from a centre that is far itself",
    "precision of unlike scales",
    "one class",
    "ads at a mean",
    "conformal, every far ad",
    "limits by class",
    "no ads",
]


def on(device: Device, logits_NC: np.ndarray, cls_NH: np.ndarray) -> Answer[torch.Tensor]:
    return Answer(*(device.put(array) for array in (logits_NC, cls_NH, cls_NH)))


def decide_on_device(
    fitted: FittedModel, logits_NC: np.ndarray, cls_NH: np.ndarray, name: str
) -> Decisions:
    device = Device(torch.device(name), "fp32")
    decision = DeviceDecision(fitted, device)
    return decision.of(on(device, logits_NC, cls_NH), device.mark()).decide(fitted)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CASES)
def test_device_decides_as_numpy(name, device):
    fitted, logits_NC, cls_NH = case(name)
    got = decide_on_device(fitted, logits_NC, cls_NH, device)
    expected = fitted.decide(Outputs.unlabelled(logits_NC, cls_NH, cls_NH))
    for field in fields(Decisions):
        mine, theirs = (getattr(found, field.name) for found in (got, expected))
        assert mine.shape == theirs.shape, field.name
        assert mine.dtype == theirs.dtype, field.name
        if theirs.dtype == np.float64:
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)
        else:
            np.testing.assert_array_equal(mine, theirs, field.name)


def test_device_takes_the_limit_of_the_predicted_class():
    fitted, logits_NC, cls_NH = case("limits by class")
    got = decide_on_device(fitted, logits_NC, cls_NH, "cpu")
    p_C = fitted.thresholds.by_class.alpha_C
    for row in range(NUM_ADS):
        predicted = int(np.argmax(logits_NC[row]))
        assert got.is_far_N[row] == (got.ood_p_N[row] <= p_C[predicted])
    assert 0 < got.is_far_N.sum() < NUM_ADS


def test_device_leaves_to_numpy_the_ads_between_classes_that_rounding_cannot_tell_apart():
    fitted, logits_NC, cls_NH = case("half way between two means")
    device = Device(torch.device("cpu"), "fp32")
    decision = DeviceDecision(fitted, device)
    found = decision.of(on(device, logits_NC, cls_NH), device.mark())
    assert found.is_near.tolist() == [True] * 50 + [False] * (NUM_ADS - 50)
    found.d2.numpy()[:50] = -1.0
    d2_N = found.decide(fitted).ood_distance_N
    expected, _ = fitted.statistics.distance(cls_NH)
    np.testing.assert_array_equal(d2_N[:50], expected[:50])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("which", ["logits", "CLS features"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_device_refuses_numbers_that_are_not_finite_and_names_the_row(
    which, number, device
):
    fitted, logits_NC, cls_NH = case("random")
    (logits_NC if which == "logits" else cls_NH)[17, 2] = number
    with pytest.raises(BundleError, match=f"{which} of row 17 are not finite"):
        decide_on_device(fitted, logits_NC, cls_NH, device)


def on_cpu(model: Model, classifier: Classifier) -> Model:
    """Return a model that takes the way of a GPU, its network on CPU."""
    other = Model(model.bundle, use_gpu=True, token_budget=700)
    other._classifier = classifier
    return other


@pytest.mark.parametrize("mode", ["truncate", "window"])
def test_score_by_the_way_of_a_gpu_is_that_of_a_cpu(bundle, ad_texts, mode, monkeypatch):
    model = Model(bundle, token_budget=700)
    other = on_cpu(model, model.classifier)
    settings = TextSettings(max_length=24, mode=mode, stride=4)
    texts = [*ad_texts[:80], "слово " * 90]
    read = cut(model.tokenizer, texts, settings)
    assert (read.num_windows_N.max() > 1) == (mode == "window")
    monkeypatch.setattr(Windows, "of", lambda _: read)
    columns = read.columns()
    expected = model.score(pa.table(columns), embedding=True)
    got = other.score(pa.table(columns), embedding=True)
    assert got.schema == expected.schema
    for name in ("label", "topk_labels", "is_ood", "num_tokens", "num_chunks", "is_cut"):
        assert got[name].equals(expected[name]), name
    for name in ("confidence", "ood_distance", "ood_z", "ood_p"):
        mine, theirs = (table[name].to_numpy() for table in (got, expected))
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6, err_msg=name)


def test_score_with_a_packed_kernel_in_bf16_is_near_fp32(bundle, ad_texts, monkeypatch):
    monkeypatch.setattr(attention, "varlen_attn", plain_varlen)
    model = Model(bundle)
    classifier = Classifier.load(bundle.folder, precision="bf16")
    assert classifier._attention.args[0] == (flash,)
    other = on_cpu(model, classifier)
    reader = model.reader()
    for text in ad_texts[:200]:
        reader.add(text)
    texts, _ = reader.finish()
    expected, got = model.score(texts), other.score(texts)
    best = [table["topk_labels"].to_pylist() for table in (expected, got)]
    same = [mine[0] == theirs[0] for mine, theirs in zip(*best, strict=True)]
    assert np.mean(same) > 0.95
    mine, theirs = (table["ood_distance"].to_numpy() for table in (got, expected))
    np.testing.assert_allclose(mine.mean(), theirs.mean(), rtol=0.02)


@pytest.mark.parametrize("kernel", [flash, small_tiles])
@pytest.mark.parametrize("mode", ["truncate", "window"])
def test_forward_pass_and_decision_ask_the_device_for_no_value_and_mix_no_devices(
    bundle, ad_texts, mode, kernel, monkeypatch
):
    """On torch's meta device every value that the host wants is an error, and every CPU tensor."""
    monkeypatch.setattr(attention, "can_use", lambda tried, *_: tried is kernel)
    monkeypatch.setattr(
        Device, "put", lambda _, array: torch.from_numpy(array).to("meta")
    )
    model = Model(bundle)
    network = load_for_scoring(bundle.folder)
    classifier = Classifier(network, None, Device(torch.device("meta"), "bf16"))
    assert classifier._attention.args[0] == (kernel,)
    settings = TextSettings(max_length=24, mode=mode, stride=4)
    read = cut(model.tokenizer, [*ad_texts[:30], "слово " * 90], settings)
    decision = DeviceDecision(bundle.fitted, classifier.device)
    found = decision.start(classifier, read, 400)
    num_top = min(bundle.fitted.decision.top_k, len(model.labels))
    shapes = {
        "logits": (31, len(model.labels)),
        "cls": (31, model.hidden_size),
        "tokens": (31, model.hidden_size),
        "d2": (31,),
        "classes": (31, num_top),
        "scores": (31, num_top),
        "is_finite": (31,),
        "is_near": (31,),
    }
    assert {name: tuple(getattr(found, name).shape) for name in shapes} == shapes
    assert {getattr(found, name).device.type for name in shapes} == {"meta"}
    assert found.logits.dtype == found.cls.dtype == torch.float32
    assert found.d2.dtype == found.scores.dtype == torch.float64


def test_pool_of_the_device_is_that_of_numpy():
    rng = np.random.default_rng(5)
    counts_N = np.array([1, 3, 1, 8, 2], np.int32)
    lengths_W = rng.integers(3, 30, counts_N.sum())
    ids = pa.array([[1] * length for length in lengths_W], pa.list_(pa.int32()))
    read = Windows(ids, counts_N, counts_N, counts_N > 2)
    outputs_WX = rng.normal(size=(len(lengths_W), 4)).astype(np.float32)
    decision = DeviceDecision(case("random")[0], Device(torch.device("cpu"), "fp32"))
    pooled_NX = decision._pool(torch.from_numpy(outputs_WX), read).numpy()
    assert pooled_NX.dtype == np.float32
    np.testing.assert_array_equal(pooled_NX[[0, 2]], outputs_WX[[0, 4]])
    np.testing.assert_allclose(pooled_NX, windows.pool(outputs_WX, read), rtol=1e-6)


@pytest.mark.parametrize("mode", ["truncate", "window"])
@pytest.mark.parametrize("device", DEVICES)
def test_device_mixes_words_in_as_numpy_does(stacked, ad_texts, device, mode):
    text = TextSettings(max_length=24, mode=mode, stride=4)
    classifier = Classifier.load(stacked.folder)
    classifier.device = Device(torch.device(device), "fp32")
    classifier.network.to(device)
    texts = [*ad_texts[:40], "слово " * 90]
    read = cut(classifier.tokenizer, texts, text, stacked.stack)
    plain = cut(classifier.tokenizer, texts, text)
    outputs = windows.run(classifier, plain, token_budget=400)
    mixed = outputs.plus(stacked.stack.logits(texts))
    assert (mixed.logits_NC.argmax(1) != outputs.logits_NC.argmax(1)).any()
    decision = DeviceDecision(stacked.fitted, classifier.device)
    got = decision.start(classifier, read, 400).decide(stacked.fitted)
    expected = stacked.fitted.decide(mixed)
    np.testing.assert_array_equal(got.label_N, expected.label_N)
    np.testing.assert_allclose(got.topk_scores_Nk, expected.topk_scores_Nk, atol=1e-5)
    np.testing.assert_allclose(got.ood_distance_N, expected.ood_distance_N, rtol=1e-4)

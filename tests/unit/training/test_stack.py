"""Whether a mix is kept, by hand."""

import numpy as np
import pytest

from rubert_ood.classifier.stack import WordModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import FitSettings
from rubert_ood.training.stack import try_stack

LABELS = ["а", "б", "в"]
WORDS = WordModel(
    ["диван"], *([np.ones(1, np.float32)] * 3), made_by="1.9.1", num_train=7
)


def split(num_ads: int, num_wrong: int, seed: int) -> tuple[Outputs, np.ndarray]:
    """Return outputs of which so many are wrong, and margins that are always right."""
    labels_N = np.random.default_rng(seed).integers(3, size=num_ads)
    said_N = labels_N.copy()
    said_N[:num_wrong] = (said_N[:num_wrong] + 1) % 3
    logits_NC = (4 * np.eye(3)[said_N]).astype(np.float32)
    margins_NC = (2 * np.eye(3)[labels_N] - 1).astype(np.float32)
    return Outputs(logits_NC, np.zeros((num_ads, 2), np.float32), labels_N), margins_NC


def tried(num_wrong: int):
    valid, valid_margins = split(1_000, num_wrong, 0)
    test, test_margins = split(500, 50, 1)
    outputs = {"valid": valid, "test": test, "train": test.take(np.arange(9))}
    margins = {"valid": valid_margins, "test": test_margins, "train": test_margins[:9]}
    mixture = try_stack(WORDS, outputs, margins, LABELS, FitSettings())
    return mixture, outputs, margins


@pytest.mark.parametrize(("num_wrong", "is_kept"), [(4, False), (5, True), (300, True)])
def test_try_stack_keeps_a_mix_that_gains_half_a_point_of_accuracy_on_valid(
    num_wrong, is_kept
):
    mixture, _, _ = tried(num_wrong)
    report = mixture.report
    assert report.valid.network.accuracy == pytest.approx(1 - num_wrong / 1_000)
    assert report.valid.words.accuracy == report.valid.mix.accuracy == 1
    assert report.valid.gains[0] == pytest.approx(num_wrong / 1_000)
    assert (report.is_kept, mixture.stack is not None) == (is_kept, is_kept)
    assert report.test.network.accuracy == 0.9


def test_mixture_adds_weight_times_margins_to_every_split_or_nothing():
    mixture, outputs, margins = tried(300)
    mixed = mixture.of(outputs)
    assert mixture.stack.weight == mixture.report.weight
    for name, each in outputs.items():
        expected_NC = each.logits_NC + np.float32(mixture.stack.weight) * margins[name]
        np.testing.assert_array_equal(mixed[name].logits_NC, expected_NC)
        assert mixed[name].cls_NH is each.cls_NH
    mixture, outputs, _ = tried(0)
    assert mixture.of(outputs) == outputs
    assert "less than 0.5 points" in mixture.report.outcome()


def test_try_stack_measures_ece_after_a_t_of_each_way():
    report = tried(300)[0].report
    # the network is right on 90 % of test and on 70 % of valid, which fits its T
    assert report.test.network.ece == pytest.approx(0.2, abs=0.02)
    assert report.test.words.ece < 0.01
    assert report.valid.mix.ece is None

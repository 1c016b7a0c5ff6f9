"""Accuracy estimated without labels, against labels that only the test knows."""

import numpy as np
import pytest

from rubert_ood.ood.accuracy import Worth, estimated_accuracy


def draw(
    num: int, rng: np.random.Generator, off: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw confidences, and whether each ad is right: `off` points less often than it says."""
    confidence_N = rng.beta(6, 1, num)
    return confidence_N, rng.random(num) < confidence_N - off


def estimate(confidence_N: np.ndarray, worth: Worth, num_texts: int | None = None):
    sums = float(confidence_N.sum()), float((confidence_N**2).sum())
    num = len(confidence_N)
    return estimated_accuracy(num, *sums, worth=worth, num_texts=num_texts or num)


def test_estimated_accuracy_is_right_in_19_of_20_nights_with_confidence_that_is_off():
    rng = np.random.default_rng(0)
    covered, errors = 0, []
    for _ in range(400):
        worth = Worth.of(*draw(500, rng, off=0.05))
        confidence_N, right_N = draw(2_000, rng, off=0.05)
        found = estimate(confidence_N, worth)
        expected = (confidence_N - 0.05).mean()
        covered += found.low <= expected <= found.high
        errors.append(found.value - right_N.mean())
    assert 370 <= covered <= 392  # 380 are meant
    assert abs(np.mean(errors)) < 0.003


def test_estimated_accuracy_follows_ads_that_are_less_sure():
    rng = np.random.default_rng(1)
    worth = Worth.of(*draw(20_000, rng))
    confidence_N = rng.beta(3, 1, 20_000)
    found = estimate(confidence_N, worth)
    assert found.value == pytest.approx(0.75, abs=0.01)  # mean of beta(3, 1)
    assert worth.accuracy == pytest.approx(6 / 7, abs=0.01)


def test_estimated_accuracy_of_one_text_over_and_over_is_no_surer_than_the_text():
    rng = np.random.default_rng(2)
    worth = Worth(num_ads=10**9, accuracy=0.9, surplus=0.0, spread=0.3)
    confidence_N = draw(10_000, rng)[0]
    wide, narrow = estimate(confidence_N, worth, 100), estimate(confidence_N, worth)
    assert wide.high - wide.low == pytest.approx(
        10 * (narrow.high - narrow.low), rel=0.01
    )


def test_estimated_accuracy_stays_within_0_and_1():
    worth = Worth(num_ads=40, accuracy=1.0, surplus=0.02, spread=0.1)
    found = estimate(np.full(50, 0.999), worth)
    assert found.high == found.value == 1.0
    assert found.low < 1.0

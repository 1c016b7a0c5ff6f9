"""Class shares of a night: planted shifts, a quiet night, repeated texts."""

import numpy as np
import pytest

from rubert_ood.nights.shares import class_shares
from rubert_ood.runs.estimates import ShareEstimates
from rubert_ood.runs.night_sample import NightSample

LABELS = ["Гаражи", "Книги", "Кошки", "Обувь"]
SOURCE_C = np.array([0.4, 0.3, 0.2, 0.1])


def ads(num: int, share_C: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes of ads, and exact probabilities for ads with the source shares."""
    rng = np.random.default_rng(seed)
    y_N = rng.choice(4, num, p=share_C)
    x_N4 = 1.5 * np.eye(4)[y_N] + rng.normal(size=(num, 4))
    p_NC = SOURCE_C * np.exp(1.5 * x_N4)
    return y_N, p_NC / p_NC.sum(axis=1, keepdims=True)


def night(p_NC: np.ndarray, num_texts: int = 0) -> NightSample:
    """Three best classes of each ad; the names stand in another order than in the bundle."""
    names = LABELS[::-1]
    best_N3 = np.argsort(-p_NC, axis=1)[:, :3]
    numbers = np.arange(len(p_NC))
    return NightSample(
        key=numbers.tolist(),
        text=(numbers % num_texts if num_texts else numbers).tolist(),
        names=names,
        best=(3 - best_N3).tolist(),
        p=np.take_along_axis(p_NC, best_N3, 1).tolist(),
    )


def estimated(sample: NightSample, seed: int = 9) -> ShareEstimates:
    labels_n, p_nC = ads(1_000, SOURCE_C, seed)
    return class_shares(sample, LABELS, p_nC, labels_n)


def test_class_shares_find_a_planted_shift_within_their_interval():
    y_N, p_NC = ads(4_000, np.array([0.1, 0.2, 0.2, 0.5]), 1)
    found = estimated(night(p_NC))
    assert (found.num_ads, found.num_texts, found.num_calibration) == (
        4_000,
        4_000,
        1_000,
    )
    truth = dict(zip(LABELS, np.bincount(y_N) / 4_000, strict=True))
    counted = dict(zip(LABELS, np.bincount(p_NC.argmax(1)) / 4_000, strict=True))
    assert found.classes[0].name == "Обувь"
    assert sum(share.value for share in found.classes) == pytest.approx(1, abs=1e-5)
    for share in found.classes:
        assert share.counted == pytest.approx(counted[share.name], abs=1e-6)
        assert share.low <= truth[share.name] <= share.high
    assert max(abs(s.counted - truth[s.name]) for s in found.classes) > 0.05
    assert max(abs(s.value - truth[s.name]) for s in found.classes) < 0.03
    assert found.classes[0].differs


def test_class_shares_of_quiet_nights_hold_the_truth_nearly_always():
    inside = []
    for seed in range(12):
        _, p_NC = ads(1_000, SOURCE_C, 100 + seed)
        truth = dict(zip(LABELS, SOURCE_C, strict=True))
        for share in estimated(night(p_NC), 200 + seed).classes:
            inside.append(share.low <= truth[share.name] <= share.high)
    assert 0.9 <= np.mean(inside) <= 1


def test_class_shares_are_the_same_each_time():
    _, p_NC = ads(500, SOURCE_C, 2)
    assert estimated(night(p_NC)) == estimated(night(p_NC))


def test_class_shares_of_repeated_texts_are_less_certain():
    _, p_NC = ads(100, SOURCE_C, 3)
    widths = []
    for num_texts in (0, 100):
        found = estimated(night(np.tile(p_NC, (20, 1)), num_texts))
        widths.append(sum(share.high - share.low for share in found.classes))
    assert widths[1] > 1.5 * widths[0]
    assert found.num_texts == 100

"""McNemar's test by hand, and the bootstrap against a loop that draws ad after ad."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from rubert_ood.promotion.statistics import (
    RESAMPLES,
    adjusted,
    interval,
    mcnemar,
    measures,
    paired_bootstrap,
)

NUM_CLASSES = 4


def answers(num: int, seed: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and answers of which so many are right; the last class is rare."""
    rng = np.random.default_rng(seed)
    labels_N = rng.choice(NUM_CLASSES, num, p=[0.4, 0.3, 0.27, 0.03])
    other_N = rng.integers(0, NUM_CLASSES, num)
    return labels_N, np.where(rng.random(num) < rate, labels_N, other_N)


def drawn_scores(labels_N: np.ndarray, best_N: np.ndarray) -> tuple[float, float, float]:
    """Accuracy, macro-F1 over the classes that occur, and F1 of the rare class, ad by ad."""
    f1 = {}
    for number in range(NUM_CLASSES):
        right = ((labels_N == number) & (best_N == number)).sum()
        occurs = (labels_N == number).sum() + (best_N == number).sum()
        if occurs:
            f1[number] = 2 * right / occurs
    return (labels_N == best_N).mean(), np.mean(list(f1.values())), f1.get(3, 0.0)


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (3, 12), (40, 17), (0, 30)]
)
def test_mcnemar_is_twice_the_smaller_tail_of_fair_coins(only_a, only_b):
    num, least = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(num, k) for k in range(least + 1)) / 2**num
    assert mcnemar(only_a, only_b) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg():
    p_values = [0.04, 0.001, 0.3, 0.02, 1.0]
    ranked = sorted(p_values)
    expected = {}
    least = 1.0
    for rank in range(len(ranked), 0, -1):
        least = min(least, ranked[rank - 1] * len(ranked) / rank)
        expected[ranked[rank - 1]] = least
    assert adjusted(p_values) == pytest.approx([expected[p] for p in p_values])
    assert adjusted([]) == []


def test_measures_of_counted_kinds_are_those_of_the_ads_themselves():
    rng = np.random.default_rng(3)
    true_K, predicted_K = rng.integers(0, NUM_CLASSES, (2, 9))
    count_RK = rng.integers(0, 6, (5, 9))
    count_RK[0, predicted_K == 2] = 0  # a draw that lacks a class
    count_RK[0, true_K == 2] = 0
    accuracy_R, macro_f1_R, f1_RC = measures(count_RK, true_K, predicted_K, NUM_CLASSES)
    for draw, count_K in enumerate(count_RK):
        labels_N = np.repeat(true_K, count_K)
        predicted_N = np.repeat(predicted_K, count_K)
        assert accuracy_R[draw] == pytest.approx(accuracy_score(labels_N, predicted_N))
        expected = f1_score(labels_N, predicted_N, average="macro", zero_division=0)
        assert macro_f1_R[draw] == pytest.approx(expected)
        every = f1_score(
            labels_N,
            predicted_N,
            average=None,
            labels=range(NUM_CLASSES),
            zero_division=0,
        )
        assert f1_RC[draw] == pytest.approx(every)


def test_paired_bootstrap_has_the_intervals_of_a_loop_over_drawn_ads():
    labels_N, new_N = answers(600, 1, 0.85)
    champion_N = np.where(np.random.default_rng(2).random(600) < 0.9, new_N, labels_N)
    drawn = paired_bootstrap(labels_N, new_N, champion_N, NUM_CLASSES)
    rng = np.random.default_rng(9)
    accuracy, macro_f1, rare = [], [], []
    for _ in range(1000):
        rows = rng.integers(0, 600, 600)
        new = drawn_scores(labels_N[rows], new_N[rows])
        champion = drawn_scores(labels_N[rows], champion_N[rows])
        accuracy.append(new[0] - champion[0])
        macro_f1.append(new[1] - champion[1])
        rare.append(new[2] - champion[2])
    for ours_R, loop in (
        (drawn.accuracy_R, accuracy),
        (drawn.macro_f1_R, macro_f1),
        (drawn.f1_RC[:, 3], rare),
    ):
        assert len(ours_R) == RESAMPLES
        spread = np.std(loop)
        assert np.mean(ours_R) == pytest.approx(np.mean(loop), abs=0.15 * spread)
        assert np.std(ours_R) == pytest.approx(spread, rel=0.1)
        expected = np.quantile(loop, [0.025, 0.975])
        assert interval(ours_R, 0.95) == pytest.approx(tuple(expected), abs=0.35 * spread)


def test_paired_bootstrap_of_equal_answers_leaves_no_difference_and_repeats_itself():
    labels_N, new_N = answers(100, 4, 0.7)
    same = paired_bootstrap(labels_N, new_N, new_N, NUM_CLASSES)
    assert not same.accuracy_R.any()
    assert not same.f1_RC.any()
    _, other_N = answers(100, 5, 0.7)
    first, again = [
        paired_bootstrap(labels_N, new_N, other_N, NUM_CLASSES) for _ in range(2)
    ]
    assert (first.macro_f1_R == again.macro_f1_R).all()
    assert np.std(first.accuracy_R) > 0

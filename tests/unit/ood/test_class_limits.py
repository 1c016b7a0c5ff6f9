"""Mondrian limits against p-values counted class by class, and false alarms over many draws."""

from functools import partial

import numpy as np
import pytest

from rubert_ood.ood.class_limits import (
    SLACK,
    ClassLimits,
    conformal_allowed,
    fit_class_limits,
    num_groups,
    pooled_classes,
)
from rubert_ood.ood.conformal import conformal_p
from rubert_ood.ood.promise import most_allowed

SHARES_C = np.array([0.4, 0.3, 0.2, 0.06, 0.04])
SCALES_C = np.array([1.0, 3.0, 0.5, 2.0, 4.0])
POOLED_C = np.array([False, False, False, True, True])
GROUPS = ([0], [1], [2], [3, 4])


def draw(rng: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw d2 and predicted class of ads, whose classes are scattered unlike."""
    predicted_N = rng.choice(5, num, p=SHARES_C)
    return rng.exponential(size=num) * SCALES_C[predicted_N], predicted_N


def true_far(limits: ClassLimits, d2_N: np.ndarray) -> np.ndarray:
    """Return the true share of far ads of each group: d2 is exponential."""
    d2 = np.sort(d2_N)
    p = conformal_p(d2, d2)
    far_C = np.zeros(5)
    for number, alpha in enumerate(limits.alpha_C):
        if alpha:
            limit = d2[p > alpha].max()
            far_C[number] = np.exp(-limit / SCALES_C[number])
    weights = [SHARES_C[group] / SHARES_C[group].sum() for group in GROUPS]
    return np.array(
        [w @ np.array(far_C)[g] for w, g in zip(weights, GROUPS, strict=True)]
    )


def fit_limits(d2_N: np.ndarray, predicted_N: np.ndarray, allowed) -> ClassLimits:
    p_N = conformal_p(d2_N, np.sort(d2_N))
    return fit_class_limits(p_N, predicted_N, POOLED_C, allowed)


def test_limits_are_where_the_p_among_the_rows_of_the_group_reaches_alpha():
    rng = np.random.default_rng(0)
    d2_N, predicted_N = draw(rng, 1_000)
    limits = fit_limits(d2_N, predicted_N, partial(conformal_allowed, alpha=0.05))
    new_N, classes_N = draw(rng, 4_000)
    p_N = conformal_p(new_N, np.sort(d2_N))
    far_N = p_N <= limits.alpha_C[classes_N]
    for row in range(4_000):
        group = next(group for group in GROUPS if classes_N[row] in group)
        mine_N = d2_N[np.isin(predicted_N, group)]
        p = (1 + np.sum(mine_N >= new_N[row])) / (1 + len(mine_N))
        assert far_N[row] == (p <= 0.05)
    assert limits.num_rows_C.tolist() == np.bincount(predicted_N).tolist()


def test_false_alarms_of_each_class_and_of_the_pool_are_alpha_in_the_mean():
    rng = np.random.default_rng(1)
    alpha, rates = 0.05, []
    for _ in range(600):
        d2_N, predicted_N = draw(rng, 1_000)
        limits = fit_limits(d2_N, predicted_N, partial(conformal_allowed, alpha=alpha))
        rates.append(true_far(limits, d2_N))
    means = np.mean(rates, axis=0)
    errors = np.std(rates, axis=0) / len(rates) ** 0.5
    assert (means <= alpha + 3 * errors).all()
    rows = [1_000 * SHARES_C[group].sum() for group in GROUPS]
    assert (means >= alpha - 1.2 / np.array(rows) - 3 * errors).all()
    common = ClassLimits(np.full(5, alpha), np.zeros(5, int), np.zeros(5, bool))
    d2_N, _ = draw(rng, 50_000)
    assert true_far(common, d2_N)[1] > 2 * alpha  # one limit for all: the scattered class


def test_promised_false_alarms_are_missed_in_any_class_in_at_most_5_percent_of_draws():
    rng = np.random.default_rng(2)
    level, rates = 0.1, []
    allowed = partial(most_allowed, limit=level, risk=0.05 / num_groups(POOLED_C))
    for _ in range(600):
        d2_N, predicted_N = draw(rng, 1_000)
        rates.append(true_far(fit_limits(d2_N, predicted_N, allowed), d2_N))
    assert np.mean((np.array(rates) > level).any(axis=1)) <= 0.05
    assert (np.mean(rates, axis=0) > level / 4).all()  # every group flags something


def test_a_group_with_too_few_rows_is_never_far():
    d2_N, predicted_N = draw(np.random.default_rng(3), 30)
    limits = fit_limits(d2_N, predicted_N, partial(conformal_allowed, alpha=0.05))
    assert limits.alpha_C.tolist() == [0.0] * 5


def test_classes_are_pooled_until_the_pool_is_large_enough():
    expected_C = np.array([400.0, 20.0, 160.0, 30.0, 151.0])
    assert pooled_classes(expected_C, 100).tolist() == [False, True, False, True, True]
    assert pooled_classes(expected_C[[0, 2, 4]], 100).tolist() == [False] * 3
    assert pooled_classes(np.array([200.0, 0.0, 300.0]), 100).tolist() == [
        True,
        True,
        False,
    ]
    assert pooled_classes(expected_C, 1_000).all()
    assert 100 * SLACK == 150
    assert num_groups(np.array([False, True, False, True])) == 3
    assert num_groups(np.zeros(3, bool)) == 3


@pytest.mark.parametrize(
    ("alphas", "pooled"),
    [([0.1, 1.0], [0, 0]), ([-0.1, 0.1], [0, 0]), ([0.1, 0.2], [1, 1]), ([0.1], [0, 0])],
)
def test_limits_that_make_no_sense_are_refused(alphas, pooled):
    with pytest.raises(ValueError, match="limits"):
        ClassLimits(np.array(alphas), np.zeros(2, int), np.array(pooled, bool))

"""Exact binomial tests against scipy.stats, and promised against true shares in many draws."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from rubert_ood.ood.promise import (
    POWER,
    Promise,
    last_rejected,
    least_rows,
    most_allowed,
    p_value,
    rows_needed,
)

NUM_DRAWS = 1_000


def test_p_value_is_the_exact_binomial_tail():
    for bad, rows, limit in [(0, 1, 0.5), (3, 200, 0.02), (40, 1000, 0.05), (7, 7, 0.1)]:
        expected = binomtest(bad, rows, limit, alternative="less").pvalue
        assert p_value(bad, rows, limit) == pytest.approx(expected, rel=1e-9)
    assert p_value([0, 0], [0, 10], 0.1).tolist() == pytest.approx([1.0, 0.9**10])


def test_p_value_is_the_risk_where_the_limit_is_the_upper_clopper_pearson_bound():
    test = binomtest(12, 900, alternative="less")
    bound = test.proportion_ci(confidence_level=0.95, method="exact").high
    assert p_value(12, 900, bound) == pytest.approx(0.05)


@pytest.mark.parametrize("risk", [0.05, 0.01])
@pytest.mark.parametrize("limit", [0.3, 0.02])
def test_most_allowed_is_the_largest_count_that_is_rejected(limit, risk):
    for rows in (1, 2, 30, 148, 149, 230, 1000):
        passing = [m for m in range(rows + 1) if binom.cdf(m, rows, limit) <= risk]
        assert most_allowed(rows, limit, risk) == max(passing, default=-1)


def test_least_rows_are_those_without_a_bad_one():
    assert least_rows(0.02, 0.05) == 149  # 0.98 ** 149 = 0.0493
    assert least_rows(0.05, 0.05) == 59
    for limit in (0.5, 0.1, 0.001):
        rows = least_rows(limit, 0.05)
        assert (1 - limit) ** rows <= 0.05 < (1 - limit) ** (rows - 1)


def test_rows_needed_show_in_4_of_5_draws_what_is_true():
    rng = np.random.default_rng(0)
    needed = rows_needed(0.05, 0.03, 0.05)
    for rows, found in ((needed, True), (needed // 2, False)):
        bad_D = rng.binomial(rows, 0.03, 20_000)
        share = np.mean(bad_D <= most_allowed(rows, 0.05, 0.05))
        assert (share >= POWER - 0.01) == found
    assert rows_needed(0.05, 0.0, 0.05) == least_rows(0.05, 0.05)


@pytest.mark.parametrize("seen", [0.05, 0.2, 0.05 - 1e-12])
def test_rows_needed_are_none_where_no_number_would_do(seen):
    assert rows_needed(0.05, seen, 0.05) is None


def test_a_sequence_ends_at_the_first_that_is_not_rejected():
    p_T = np.array([0.9, 0.01, 0.05, 0.06, 0.001])
    assert last_rejected(p_T, 1, 0.05) == 2
    assert last_rejected(p_T, 4, 0.05) == 4
    assert last_rejected(p_T, 0, 0.05) is None
    assert last_rejected(p_T, 3, 0.05) is None


def test_a_promise_that_makes_no_sense_is_refused():
    for changes in ({"level": 1.0}, {"confidence": 0.0}, {"num_against": 11}):
        values = {"level": 0.9, "confidence": 0.95, "num_rows": 10, "num_against": 1}
        with pytest.raises(ValueError, match="promise"):
            Promise("precision", **(values | changes))


def test_promises_are_told_in_words():
    assert Promise("precision", 0.98, 0.95, 1240, 12).in_words() == (
        "With a confidence of 0.95 at least 0.98 of the kept ads are right"
        " (of 1,240 kept ads 12 are wrong)."
    )
    assert Promise("flagged_per_class", 0.01, 0.9, 3000, 9).in_words() == (
        "With a confidence of 0.9 at most 0.01 of the ordinary ads of each class are flagged"
        " (of 3,000 ads 9 are far)."
    )


SHARES_T = np.linspace(0.02, 0.08, 25)
"""Of each hypothesis, the share of its rows that are really bad, the strictest first."""


def draw(rng: np.random.Generator, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows that are kept by one hypothesis and all looser ones: kept and bad, (D, T)."""
    new_T = np.diff(np.r_[0, np.linspace(num_rows / 2, num_rows, 25).astype(int)])
    kept_T = new_T.cumsum()
    new_shares_T = np.diff(np.r_[0, SHARES_T * kept_T]) / new_T
    bad_DT = rng.binomial(new_T, new_shares_T, (NUM_DRAWS, 25)).cumsum(axis=1)
    return np.broadcast_to(kept_T, bad_DT.shape), bad_DT


def test_a_promised_share_is_missed_in_at_most_5_percent_of_draws_and_not_by_abstaining():
    rng = np.random.default_rng(4)
    limit = 0.05  # so that the 13th is just true, and the ones after it are false
    kept_DT, bad_DT = draw(rng, 1500)
    start = 4
    last_D = [last_rejected(p_T, start, 0.05) for p_T in p_value(bad_DT, kept_DT, limit)]
    promised = [last for last in last_D if last is not None]
    missed = np.mean(
        np.r_[SHARES_T[promised], np.zeros(NUM_DRAWS - len(promised))] > limit
    )
    assert missed <= 0.05
    assert len(promised) >= 0.8 * NUM_DRAWS
    assert (
        np.mean(promised) >= 6
    )  # half of the way from the start to the last that is true


def test_choosing_on_the_rows_that_test_would_break_the_promise():
    """The loosest threshold that looks good enough, which is what is done without a promise."""
    rng = np.random.default_rng(4)
    kept_DT, bad_DT = draw(rng, 1500)
    looks_good_DT = bad_DT <= 0.05 * kept_DT
    last_D = np.where(looks_good_DT, np.arange(25), 0).max(axis=1)
    assert np.mean(SHARES_T[last_D] > 0.05) > 0.3

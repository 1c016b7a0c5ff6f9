"""The estimated false discovery rate against planted flags."""

import numpy as np
import pytest

from rubert_ood.ood.flags import false_share, sound_flags


def planted(num_in: int, num_ood: int) -> tuple[np.ndarray, np.ndarray]:
    """Return p-values, uniform for in-domain ads and small for the others, and which are OOD."""
    rng = np.random.default_rng(0)
    p_N = np.concatenate([rng.uniform(0, 1, num_in), rng.uniform(0, 0.002, num_ood)])
    return p_N, np.arange(len(p_N)) >= num_in


def test_false_share_of_planted_flags_is_the_true_one():
    p_N, is_ood_N = planted(98_000, 2_000)
    flagged_N = p_N <= 0.01
    true_share = (~is_ood_N[flagged_N]).mean()
    found = false_share(len(p_N), int(flagged_N.sum()), p_N[flagged_N].max())
    assert found == pytest.approx(true_share, abs=0.03)


def test_false_share_without_ood_ads_is_one_and_without_flags_zero():
    p_N, _ = planted(100_000, 0)
    flagged_N = p_N <= 0.01
    assert false_share(len(p_N), int(flagged_N.sum()), 0.01) > 0.9
    assert false_share(10, 0, 0.0) == 0.0
    assert false_share(10, 1, 0.5) == 1.0


def test_sound_flags_at_every_p_are_those_of_benjamini_and_hochberg():
    p_N = np.sort(planted(19_000, 1_000)[0])
    rank_N = np.arange(1, len(p_N) + 1)
    expected = int(rank_N[p_N <= 0.1 * rank_N / len(p_N)].max())
    assert sound_flags(len(p_N), rank_N, p_N, 0.1) == expected
    assert 900 < expected < 1_300


def test_sound_flags_without_enough_small_p_are_none():
    assert sound_flags(1_000, np.array([0, 1, 9]), np.array([0.001, 0.01, 0.1]), 0.1) == 0

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from rubert_ood.runs.shift import class_shift, shift

counts = st.dictionaries(
    st.sampled_from("абвгд"), st.integers(0, 1000), min_size=1
).filter(lambda c: sum(c.values()))


@given(counts, counts)
def test_class_shift_is_the_jensen_shannon_distance(now, before):
    names = "абвгд"
    p, q = (
        np.array([run.get(name, 0) for name in names]) / sum(run.values())
        for run in (now, before)
    )
    middle = (p + q) / 2
    divergence = (entropy(p, middle, base=2) + entropy(q, middle, base=2)) / 2
    got = class_shift(now, before)
    assert got == pytest.approx(math.sqrt(max(divergence, 0)), abs=1e-7)
    assert got == pytest.approx(class_shift(before, now), abs=1e-7)
    assert 0 <= got <= 1 + 1e-12


def test_class_shift_by_hand():
    half = {"a": 1, "b": 1}
    assert class_shift(half, {"b": 7, "a": 7}) == pytest.approx(0, abs=1e-9)
    assert class_shift({"a": 3}, {"b": 9}) == pytest.approx(1)
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4)
    expected = (math.log2(4 / 3) + math.log2(2 / 3) / 2 + math.log2(2) / 2) / 2
    assert class_shift({"a": 5}, half) == pytest.approx(math.sqrt(expected))
    assert class_shift({}, half) == 0


def test_shift_is_that_of_the_class_shares():
    assert shift([3, 0, 1], [1, 2, 1]) == class_shift(
        {"a": 3, "c": 1}, {"a": 1, "b": 2, "c": 1}
    )
    assert shift([5, 5, 0], [100, 100, 0]) == pytest.approx(0, abs=1e-7)
    assert shift([5, 0], [0, 5]) == pytest.approx(1)
    assert shift([0, 0], [0, 5]) == 0

"""The table of what is good: bounds, and the words beside the numbers."""

import pytest

from rubert_ood.reports import good


@pytest.mark.parametrize(
    ("one", "inside", "outside"),
    [
        (good.ECE, 0.05, 0.0501),
        (good.CLASS_F1, 0.8, 0.799),
        (good.F1_CHANGE, -0.02, -0.03),
    ],
)
def test_good_holds_up_to_its_bound(one, inside, outside):
    assert one.holds(inside)
    assert not one.holds(outside)


def test_good_is_written_with_its_side_and_unit():
    assert str(good.ECE) == "good: at most 0.05"
    assert str(good.HARD_CASES) == "good: at least 80%"
    assert str(good.TEST_ADS) == "good: at least 100"
    assert str(good.REJECTED) == "good: at most 0.5%"


def test_every_threshold_of_the_table_can_be_written():
    table = [value for value in vars(good).values() if isinstance(value, good.Good)]
    assert len(table) > 10
    for one in table:
        assert one.holds(one.bound)
        assert str(one).startswith(("good: at most ", "good: at least "))

import pytest

from rubert_ood.annotating.agreement import Accuracy, krippendorff_alpha


def test_alpha_of_the_example_of_its_author_is_as_he_says() -> None:
    """Krippendorff 2011, section C: four observers, nominal data, 0.743; a unit with one value says
    nothing."""
    units = [
        "111",
        "2232",
        "3333",
        "3333",
        "2222",
        "1234",
        "4444",
        "1121",
        "2222",
        "555",
        "11",
        "3",
    ]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_one_annotator_is_unknown() -> None:
    assert krippendorff_alpha([["a"], ["b"]]) is None
    assert krippendorff_alpha([["a", "a"]]) is None


def test_interval_of_a_share_is_wilsons() -> None:
    """By the formula of Wilson 1927, z = 1.959964."""
    low, high = Accuracy(80, 100).interval
    z2 = 1.959964**2
    centre = (0.8 + z2 / 200) / (1 + z2 / 100)
    half = 1.959964 / (1 + z2 / 100) * (0.8 * 0.2 / 100 + z2 / 40_000) ** 0.5
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert Accuracy(0, 0).interval == (0.0, 1.0)

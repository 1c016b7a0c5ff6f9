import pytest

from rubert_ood.annotating.mix import KINDS, lacking, numbers
from rubert_ood.errors import SettingsError
from rubert_ood.settings import MixSettings


@pytest.mark.parametrize("num", [1, 2, 7, 99, 500])
def test_numbers_of_any_total_add_up_and_lie_within_one_of_their_share(num: int) -> None:
    mix = MixSettings()
    found = numbers(num, mix)
    assert sum(found.values()) == num
    assert all(abs(found[kind] - num * getattr(mix, kind)) < 1 for kind in KINDS)


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"add up to 1\.3"):
        MixSettings(random=0.5)


def test_lacking_names_only_kinds_that_fall_short() -> None:
    assert lacking({"a": 3, "b": 2}, {"a": 1, "b": 5}) == {"a": 2}

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import NotifySettings, PriceSettings


def test_notify_names_an_end_that_does_not_exist():
    with pytest.raises(SettingsError, match=r"^on\.0: "):
        NotifySettings(on=("finished",))


def test_price_is_not_negative():
    with pytest.raises(SettingsError, match=r"^per_node_hour: "):
        PriceSettings(per_node_hour=-1)

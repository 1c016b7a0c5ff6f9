import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import SubmitSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"address": "auto"}, r"^address: not the address of a dashboard"),
        ({"address": "http://user:secret@host:8265"}, r"^address: holds credentials"),
    ],
)
def test_settings_that_are_wrong_are_one_line(given, message):
    with pytest.raises(SettingsError, match=message) as caught:
        SubmitSettings(**given)
    assert "secret" not in str(caught.value)

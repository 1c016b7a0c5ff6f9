"""The settings of `push`."""

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import PushSettings


@pytest.mark.parametrize(
    "repo_id", ["ads", "acme/ads/v1", "acme/", "hf://acme/ads", "../ads"]
)
def test_push_settings_refuse_what_is_not_owner_and_name(repo_id):
    with pytest.raises(SettingsError, match="repo_id"):
        PushSettings(bundle_uri="b", repo_id=repo_id)


def test_push_settings_of_a_public_repository_want_a_license():
    with pytest.raises(SettingsError, match="license: a public repository needs one"):
        PushSettings(bundle_uri="b", repo_id="acme/ads", public=True)
    assert PushSettings(
        bundle_uri="b", repo_id="acme/ads", public=True, license="mit"
    ).public
    assert not PushSettings(bundle_uri="b", repo_id="acme/ads").public

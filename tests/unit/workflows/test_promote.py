"""What `promote` refuses before it reads anything."""

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import PromoteSettings
from rubert_ood.workflows.promote import promote


def test_promote_of_a_bundle_on_a_hub_is_refused_and_asks_it_nothing(hub):
    settings = PromoteSettings(bundle_uri="hf://shop/ads", test_uri="test.parquet")
    with pytest.raises(SettingsError, match=r"^bundle_uri: .* keeps no champion"):
        promote(settings)
    assert hub.requests == []

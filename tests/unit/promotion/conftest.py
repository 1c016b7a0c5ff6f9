"""A champion, a worse bundle beside it, and ads to compare them on."""

import pytest

from tests.unit.promotion.bundles import Pair, make_pair


@pytest.fixture(scope="session")
def pair(bundle, ads, tmp_path_factory) -> Pair:
    return make_pair(bundle, ads, tmp_path_factory.mktemp("pair"))

"""Objects that several starts put: created once, replaced only if not good, and under claim."""

import pytest

from rubert_ood import storage
from rubert_ood.errors import PartialRunError
from rubert_ood.runs.settle import settle


def _nothing() -> None:
    pass


def _claimed() -> None:
    raise PartialRunError("another has claimed this run")


@pytest.fixture
def uri(tmp_path) -> str:
    return str(tmp_path / "object")


def test_settle_puts_an_object_where_there_is_none(uri):
    assert settle(uri, b"own", _nothing, lambda _: False) == b"own"
    assert storage.read_bytes(uri) == b"own"


def test_settle_keeps_one_that_is_good_and_returns_it(uri):
    storage.put_bytes(uri, b"good")
    assert settle(uri, b"own", _nothing, lambda found: found == b"good") == b"good"
    assert storage.read_bytes(uri) == b"good"


def test_settle_replaces_one_that_is_not_good(uri):
    storage.put_bytes(uri, b"cut")
    assert settle(uri, b"own", _nothing, lambda found: found == b"good") == b"own"
    assert storage.read_bytes(uri) == b"own"


def test_settle_of_a_start_whose_claim_has_ended_puts_nothing(uri):
    with pytest.raises(PartialRunError, match="another has claimed"):
        settle(uri, b"own", _claimed, lambda _: False)
    assert not storage.exists(uri)


def test_settle_replaces_no_object_that_a_newer_start_puts_after_the_look(uri):
    """It looks, then asks for the claim; what is put between that and its own put stays."""
    storage.put_bytes(uri, b"cut")
    asked: list[bytes] = []

    def newer_start_puts() -> None:
        if storage.read_bytes(uri) == b"cut" and asked:
            storage.put_bytes(uri, b"newer")
        asked.append(b"")

    found = settle(uri, b"own", newer_start_puts, lambda found: found == b"newer")
    assert found == storage.read_bytes(uri) == b"newer"

"""The way back of any pointer, while others swap it (run by run: publishing/test_rollback.py)."""

import pytest

from rubert_ood import storage
from rubert_ood.errors import (
    InputError,
    PartialRunError,
    PublicationRefusedError,
    StorageUnavailableError,
)
from rubert_ood.pointers.champion import Champion, ChampionPlace, look
from rubert_ood.pointers.pointer import swap
from rubert_ood.pointers.take_back import take_back
from rubert_ood.runs.plan import BundleName
from tests.conftest import patch_storage


@pytest.fixture
def root(tmp_path) -> str:
    root_uri = str(tmp_path / "bundles")
    for version in ("v1", "v2", "v3"):
        _name(root_uri, version)
    return root_uri


def _pointer(uri: str) -> Champion:
    root_uri, _, version = uri.rpartition("/")
    name = BundleName(uri=uri, version=version, fingerprint=version * 3)
    return ChampionPlace(root_uri, None, "").pointer_to(name)


def _name(root_uri: str, version: str) -> None:
    place = look(root_uri)
    swap(place, _pointer(f"{root_uri}/{version}").replacing(place.pointer))


def _back(root_uri: str) -> tuple[Champion, str]:
    return take_back(lambda: look(root_uri), _pointer, "why")


def test_take_back_asks_for_the_folder_before_and_keeps_the_memory(root):
    pointer, bad = _back(root)
    assert (pointer.path, bad) == ("v2", "v3")
    assert look(root).pointer == pointer
    assert (pointer.history, pointer.taken_back) == (["v1"], ["v3"])


def test_take_back_whose_answer_got_lost_goes_one_step(root, monkeypatch):
    real = storage.swap_bytes
    patch_storage(
        monkeypatch, "swap_bytes", lambda *arguments: real(*arguments) and False
    )
    assert _back(root)[0].path == "v2"
    assert look(root).pointer.history == ["v1"]


def test_take_back_that_may_have_taken_place_asks_to_look_before_it_is_repeated(
    root, monkeypatch
):
    real = storage.swap_bytes

    def loses_the_answer(uri, data, version):
        real(uri, data, version)
        raise StorageUnavailableError(f"{uri}: storage does not answer")

    patch_storage(monkeypatch, "swap_bytes", loses_the_answer)
    with pytest.raises(
        StorageUnavailableError,
        match=r"v3 may be rolled back .* Look at .*champion\.json",
    ):
        _back(root)
    assert look(root).pointer.path == "v2"


def test_take_back_while_something_else_is_named_takes_nothing_back(root, monkeypatch):
    real, rivals = storage.swap_bytes, ["v4"]

    def late(uri, data, version):
        if rivals:
            _name(root, rivals.pop())
        return real(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", late)
    with pytest.raises(
        PublicationRefusedError,
        match="nothing was rolled back, because v4 was promoted meanwhile",
    ):
        _back(root)
    assert look(root).pointer.paths == ["v4", "v3", "v2", "v1"]


def test_take_back_while_others_swap_all_the_time_ends_after_some_attempts(
    root, monkeypatch
):
    patch_storage(monkeypatch, "swap_bytes", lambda *_: False)
    with pytest.raises(
        PartialRunError, match=r"other promotions keep swapping champion\.json"
    ):
        _back(root)


def test_take_back_of_nothing_says_so(tmp_path):
    with pytest.raises(InputError, match="no bundle was promoted here, so nothing"):
        _back(str(tmp_path))

"""champion.json: what a URI stands for, what is loaded then, and the way back."""

import logging
import shutil
from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.bundle import Bundle, derive_bundle, load_bundle
from rubert_ood.errors import BundleError, InputError
from rubert_ood.pointers.champion import (
    ChampionPlace,
    look,
    name_of,
    open_bundle,
    resolve,
    roll_back,
)
from rubert_ood.pointers.pointer import swap
from rubert_ood.runs.plan import BundleName


def promoted(root_uri: str, bundle: Bundle) -> None:
    """Let champion.json name a bundle, without any comparison."""
    place = look(root_uri)
    swap(place, place.pointer_to(name_of(bundle)).replacing(place.pointer))


@pytest.fixture
def bundles(bundle, tmp_path) -> list[Bundle]:
    """Three versions in one folder."""
    found = []
    for version in ("v1", "v2", "v3"):
        uri, text = str(tmp_path / "bundles" / version), {"README.md": version}
        found.append(derive_bundle(bundle, uri, documents=text))
    return found


@pytest.fixture
def root(tmp_path) -> str:
    return str(tmp_path / "bundles")


def test_look_before_any_promotion_finds_no_champion(root):
    place = look(root)
    assert (place.pointer, place.champion, place.version) == (None, None, "")
    assert place.uri == f"{root}/champion.json"


def test_look_at_a_damaged_file_is_one_line_with_what_to_do(root):
    storage.put_bytes(f"{root}/champion.json", b'{"path": "v1"}')
    with pytest.raises(
        InputError, match=r"champion\.json: the file is damaged \(version: .*Restore"
    ):
        look(root)


def test_resolve_of_a_version_is_that_version(root):
    assert resolve(f"{root}/v1/") == BundleName(uri=f"{root}/v1", fingerprint="")


def test_resolve_of_the_champion_is_its_version_and_fingerprint(root, bundles):
    for bundle in bundles[:2]:
        promoted(root, bundle)
        assert resolve(f"{root}/champion") == BundleName(
            uri=bundle.uri,
            version=bundle.version,
            fingerprint=bundle.fingerprint,
            alias=f"{root}/champion",
        )
    assert look(root).pointer.history == ["v1"]


def test_resolve_of_a_champion_that_is_not_there_says_how_to_make_one(root):
    with pytest.raises(
        BundleError, match=r"no bundle .* was promoted. Run `rubert-ood promote"
    ):
        resolve(f"{root}/champion")


def test_resolve_of_an_older_version_that_is_called_champion_is_that_folder(
    root, bundles
):
    shutil.copytree(bundles[0].folder, f"{root}/champion")
    assert resolve(f"{root}/champion").uri == f"{root}/champion"


def test_open_bundle_of_the_champion_says_which_it_is(root, bundles, caplog):
    caplog.set_level(logging.INFO)
    promoted(root, bundles[1])
    found = open_bundle(Path(root, "champion"))
    assert (found.uri, found.alias) == (f"{root}/v2", f"{root}/champion")
    assert found.fingerprint == bundles[1].fingerprint
    assert caplog.messages == [
        (f"bundle    {root}/champion names v2, fingerprint {found.fingerprint[:12]}")
    ]
    caplog.clear()
    assert open_bundle(f"{root}/v1").alias == ""
    assert caplog.messages == []


def test_open_bundle_of_a_champion_that_was_replaced_is_refused(root, bundles):
    promoted(root, bundles[1])
    shutil.rmtree(bundles[1].uri)
    shutil.copytree(bundles[2].folder, bundles[1].uri)
    with pytest.raises(BundleError, match="this is not the promoted bundle"):
        open_bundle(f"{root}/champion")


def test_roll_back_goes_to_the_bundle_before_and_says_what_it_took_back(root, bundles):
    for bundle in bundles:
        promoted(root, bundle)
    pointer, taken_back = roll_back(root, "wrong labels")
    assert taken_back == "v3"
    assert pointer == look(root).pointer
    assert (pointer.version, pointer.fingerprint) == ("v2", bundles[1].fingerprint)
    assert (pointer.history, pointer.taken_back) == (["v1"], ["v3"])
    assert pointer.rolled_back.reason == "wrong labels"
    assert roll_back(root, "worse")[0].version == "v1"
    with pytest.raises(InputError, match="only one bundle was promoted here, so nothing"):
        roll_back(root, "again")


def test_roll_back_to_a_bundle_that_is_gone_changes_nothing(root, bundles):
    promoted(root, bundles[0])
    promoted(root, bundles[1])
    shutil.rmtree(bundles[0].uri)
    before = Path(root, "champion.json").read_bytes()
    with pytest.raises(BundleError, match="v1: no bundle is here"):
        roll_back(root, "x")
    assert Path(root, "champion.json").read_bytes() == before


def test_pointer_to_a_bundle_has_its_path_below_the_root(bundle):
    root_uri = bundle.uri.rpartition("/")[0]
    place = ChampionPlace(root_uri, None, "")
    pointer = place.pointer_to(
        name_of(bundle), promotion="_promotions/x.json", forced="y"
    )
    assert (pointer.path, pointer.version) == ("v1", "v1")
    assert pointer.fingerprint == load_bundle(bundle.uri).fingerprint
    assert (pointer.promotion, pointer.forced) == ("_promotions/x.json", "y")

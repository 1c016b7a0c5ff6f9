"""From a comparison to champion.json: the judgement, the record, the swap."""

from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.bundle import Bundle, derive_bundle
from rubert_ood.errors import BundleError, PartialRunError, PublicationRefusedError
from rubert_ood.pointers.champion import look, name_of, roll_back
from rubert_ood.promotion import promote
from rubert_ood.promotion.document import PROMOTION, Promotion
from rubert_ood.promotion.promote import (
    check_not_taken_back,
    is_champion,
    judge,
    make_champion,
    put_record,
)
from rubert_ood.settings import PromoteSettings
from tests.conftest import patch_storage
from tests.unit.promotion.test_limits import comparison


@pytest.fixture
def root(tmp_path) -> str:
    return str(tmp_path / "bundles")


@pytest.fixture
def bundles(bundle, root) -> list[Bundle]:
    found = []
    for version in ("v1", "v2", "v3"):
        text = {"README.md": version}
        found.append(derive_bundle(bundle, f"{root}/{version}", documents=text))
    return found


def settings(**changes) -> PromoteSettings:
    return PromoteSettings(bundle_uri="b", test_uri="t", **changes)


def attempt(root: str, bundle: Bundle, **changes) -> Promotion:
    """Judge a bundle as one that is as good as the champion."""
    return judge(bundle, look(root).champion, comparison(), settings(**changes))


def make(root: str, bundle: Bundle) -> None:
    promotion = attempt(root, bundle)
    make_champion(root, promotion, put_record(root, promotion, "<html>"))


def test_judge_says_what_becomes_of_a_bundle_and_why(root, bundles):
    good = attempt(root, bundles[0])
    assert (good.outcome, good.refusal_reason, good.failed) == ("accepted", "", [])
    assert good.bundle == name_of(bundles[0])
    slow = comparison(speed_ratio=0.1)
    refused = judge(bundles[0], None, slow, settings())
    assert refused.outcome == "refused"
    assert refused.refusal_reason.endswith("limits.min_speed_ratio is 0.5, found 0.1")
    forced = judge(bundles[0], None, slow, settings(force="it reads windows"))
    assert (forced.outcome, forced.forced) == ("forced", "it reads windows")
    assert forced.refusal_reason == refused.refusal_reason


def test_judge_passes_over_a_champion_that_could_not_be_read_by_force_alone(
    root, bundles
):
    make(root, bundles[0])
    champion, found = look(root).champion, comparison(champion=None)
    forced = judge(bundles[1], champion, found, settings(force="the disk is gone"))
    assert (forced.failed, forced.outcome) == ([], "forced")
    assert judge(bundles[1], champion, found, settings()).outcome == "refused"


def test_put_record_writes_the_record_with_its_page_beside_it(root, bundles):
    promotion = attempt(root, bundles[0])
    path = put_record(root, promotion, "<html>")
    assert PROMOTION.validate_json(Path(root, path).read_bytes()) == promotion
    assert Path(root, path).with_name("promotion.html").read_text() == "<html>"
    assert put_record(root, promotion, "<html>") == path
    other = promotion.model_copy(update={"forced": "another start"})
    with pytest.raises(PartialRunError, match=r"began at the same moment. Start again"):
        put_record(root, other, "<html>")


def test_make_champion_names_bundle_and_record_and_remembers_the_one_before(
    root, bundles
):
    for bundle in bundles[:2]:
        promotion = attempt(root, bundle)
        record = put_record(root, promotion, "<html>")
        pointer = make_champion(root, promotion, record)
        assert pointer == look(root).pointer
        assert (pointer.version, pointer.promotion) == (bundle.version, record)
        assert pointer.fingerprint == bundle.fingerprint
    assert pointer.history == ["v1"]


def test_make_champion_of_two_at_once_lets_one_win_and_tells_the_other(root, bundles):
    make(root, bundles[0])
    ours, theirs = attempt(root, bundles[1]), attempt(root, bundles[2])
    make_champion(root, theirs, "_promotions/theirs.json")
    with pytest.raises(PartialRunError) as caught:
        make_champion(root, ours, "_promotions/ours.json")
    assert str(caught.value) == (
        f"{root}/champion.json: v3 became the champion meanwhile. Run the same"
        " command again to compare with it"
    )
    assert look(root).pointer.paths == ["v3", "v1"]


def test_make_champion_whose_rival_comes_between_look_and_swap_is_told_so(
    root, bundles, monkeypatch
):
    make(root, bundles[0])
    ours, theirs = attempt(root, bundles[1]), attempt(root, bundles[2])
    real, rivals = storage.swap_bytes, [theirs]

    def late(uri, data, version):
        if rivals:
            make_champion(root, rivals.pop(), "_promotions/theirs.json")
        return real(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", late)
    with pytest.raises(PartialRunError, match="v3 became the champion meanwhile"):
        make_champion(root, ours, "_promotions/ours.json")
    assert look(root).pointer.paths == ["v3", "v1"]


def test_make_champion_of_the_same_bundle_twice_at_once_is_one_promotion(
    root, bundles, monkeypatch
):
    make(root, bundles[0])
    ours, theirs = attempt(root, bundles[1]), attempt(root, bundles[1])
    real, rivals = storage.swap_bytes, [theirs]

    def late(uri, data, version):
        if rivals:
            make_champion(root, rivals.pop(), "_promotions/theirs.json")
        return real(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", late)
    pointer = make_champion(root, ours, "_promotions/ours.json")
    assert pointer == look(root).pointer
    assert (pointer.paths, pointer.promotion) == (["v2", "v1"], "_promotions/theirs.json")


def test_make_champion_whose_answer_got_lost_counts(root, bundles, monkeypatch):
    promotion = attempt(root, bundles[0])
    real = storage.swap_bytes
    patch_storage(
        monkeypatch, "swap_bytes", lambda *arguments: real(*arguments) and False
    )
    assert make_champion(root, promotion, "_promotions/x.json").version == "v1"
    assert look(root).pointer.paths == ["v1"]


def test_make_champion_after_a_rollback_meanwhile_is_told_so(root, bundles):
    make(root, bundles[0])
    make(root, bundles[1])
    promotion = attempt(root, bundles[2])
    roll_back(root, "wrong labels")
    with pytest.raises(PartialRunError, match="v1 became the champion meanwhile"):
        make_champion(root, promotion, "_promotions/x.json")


def test_make_champion_of_a_bundle_that_was_promoted_and_rolled_back_meanwhile_wants_force(
    root, bundles
):
    make(root, bundles[0])
    ours, theirs = attempt(root, bundles[1]), attempt(root, bundles[1])
    make_champion(root, theirs, "_promotions/theirs.json")
    roll_back(root, "toys")
    with pytest.raises(
        PublicationRefusedError, match=r"v2: this bundle was rolled back \(toys\)"
    ):
        make_champion(root, ours, "_promotions/ours.json")
    assert look(root).pointer.paths == ["v1"]
    forced = ours.model_copy(update={"forced": "toys are right"})
    assert make_champion(root, forced, "_promotions/ours.json").paths == ["v2", "v1"]


def test_make_champion_while_others_swap_all_the_time_ends_after_some_attempts(
    root, bundles, monkeypatch
):
    promotion = attempt(root, bundles[0])
    monkeypatch.setattr(promote, "swap", lambda *_: None)
    with pytest.raises(
        PartialRunError, match=r"other promotions keep swapping champion\.json"
    ):
        make_champion(root, promotion, "_promotions/x.json")


def test_is_champion_knows_the_bundle_by_its_fingerprint(root, bundles, bundle):
    assert not is_champion(look(root), bundles[0])
    make(root, bundles[0])
    place = look(root)
    assert is_champion(place, bundles[0])
    assert not is_champion(place, bundles[1])
    replaced = name_of(bundles[0]).model_copy(update={"fingerprint": "0" * 64})
    other = look(root).pointer.model_copy(update={"fingerprint": replaced.fingerprint})
    storage.put_json(place.uri, other)
    with pytest.raises(BundleError, match="this is not the promoted bundle"):
        is_champion(look(root), bundles[0])


def test_check_not_taken_back_names_the_reason(root, bundles):
    make(root, bundles[0])
    make(root, bundles[1])
    roll_back(root, "wrong labels")
    check_not_taken_back(look(root), bundles[2])
    with pytest.raises(
        PublicationRefusedError,
        match=r"v2: this bundle was rolled back \(wrong labels\)\. Pass --force",
    ):
        check_not_taken_back(look(root), bundles[1])
    make(root, bundles[2])
    with pytest.raises(PublicationRefusedError, match=r"champion\.json says so"):
        check_not_taken_back(look(root), bundles[1])

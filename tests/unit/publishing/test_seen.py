"""What a publisher sees: pointers that it may swap, runs that it compares with, and refusals."""

import shutil

import pytest

from rubert_ood.errors import ErrorRateError, PartialRunError, PublicationRefusedError
from rubert_ood.pointers.pointer import TakenBack, swap
from rubert_ood.publishing.pointer import Place, Pointer, look
from rubert_ood.publishing.seen import (
    Comparison,
    Seen,
    check_not_rolled_back,
    manifest_at,
)
from rubert_ood.runs.manifest import Check, Manifest
from tests.unit.publishing.days import put_run
from tests.unit.publishing.manifests import a_manifest, changed, put_manifest

DAY = "2026-11-24"
NOTHING = Comparison(None, None)


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "out")


def _name(root_uri: str, manifest: Manifest, **changes) -> Pointer:
    """Let the pointer of a root name a run."""
    place = look(root_uri)
    pointer = place.pointer_to(manifest).replacing(place.pointer)
    now = swap(place, pointer.model_copy(update=changes))
    assert now is not None
    return now


def _roots(places: list[Place]) -> list[str]:
    return [place.root_uri for place in places]


def test_look_reads_the_catalogue_alone_for_the_night_and_the_day_first_for_a_backfill(
    out,
):
    run = put_run(out, DAY, "r1")
    night = Seen.look(run, None)
    assert _roots(night.places) == [out]
    assert night.noted == run
    day = Seen.look(run, NOTHING)
    assert _roots(day.places) == [f"{out}/run_date={DAY}", out]


def test_look_at_a_run_that_is_not_noted_yet_has_no_noted_manifest(out):
    seen = Seen.look(a_manifest(out), None)
    assert seen.noted is None
    assert not seen.was_published


def test_was_published_of_a_run_that_is_named_remembered_or_noted_so(out):
    first, second = put_run(out, DAY, "r1"), put_run(out, DAY, "r2")
    assert not Seen.look(first, None).was_published
    _name(out, first)
    assert Seen.look(first, None).was_published
    _name(out, second)
    assert Seen.look(first, None).was_published
    third = put_run(out, DAY, "r3", outcome="published")
    assert Seen.look(third, None).was_published


def test_targets_of_an_older_day_are_its_own_pointer_alone(out):
    _name(out, put_run(out, DAY, "night"))
    old = put_run(out, "2026-11-20", "again")
    assert _roots(Seen.look(old, NOTHING).targets(force=False)) == [
        f"{out}/run_date=2026-11-20"
    ]
    new = put_run(out, "2026-11-25", "again")
    assert _roots(Seen.look(new, NOTHING).targets(force=False)) == [
        f"{out}/run_date=2026-11-25",
        out,
    ]


def test_targets_of_a_run_that_is_named_are_none_and_of_a_remembered_one_by_force_only(
    out,
):
    first = put_run(out, DAY, "r1")
    _name(out, first)
    assert Seen.look(first, None).targets(force=True) == []
    _name(out, put_run(out, DAY, "r2"))
    assert Seen.look(first, None).targets(force=False) == []
    assert _roots(Seen.look(first, None).targets(force=True)) == [out]


def test_replaced_of_the_night_is_the_run_that_readers_see(out):
    first, second = put_run(out, DAY, "r1"), put_run(out, DAY, "r2")
    seen = Seen.look(second, None)
    assert seen.replaced(seen.targets(force=False)) is None
    _name(out, first)
    seen = Seen.look(second, None)
    assert seen.replaced(seen.targets(force=False)) == first


def test_replaced_of_a_day_is_its_own_run_before_unless_it_goes_on_in_the_catalogue(out):
    night = put_run(out, DAY, "night")
    _name(out, night)
    before = put_run(out, "2026-11-20", "before")
    old = Seen.look(put_run(out, "2026-11-20", "again"), Comparison(before, 0.1))
    assert old.replaced(old.targets(force=False)) == before
    new = Seen.look(put_run(out, "2026-11-25", "again"), NOTHING)
    assert new.replaced(new.targets(force=False)) == night


def test_replaced_where_another_run_of_the_day_came_in_between_is_partial(out):
    seen = Seen.look(put_run(out, DAY, "again"), NOTHING)
    put_run(out, DAY, "rival")
    with pytest.raises(
        PartialRunError, match="another run of this day was published meanwhile"
    ):
        seen.replaced(seen.targets(force=False))


def test_refusal_of_a_run_that_passes_is_none_and_a_failed_check_is_named(out):
    seen = Seen.look(put_run(out, DAY, "r1"), None)
    targets = seen.targets(force=False)
    passed = Check(check="max_ood_rate", value=0.1, limit=0.2, ok=True)
    assert seen.refusal(targets, [passed]) is None
    failed = Check(check="max_ood_rate", value=0.3, limit=0.2, ok=False)
    refusal = seen.refusal(targets, [passed, failed])
    assert isinstance(refusal, PublicationRefusedError)
    assert "gate.max_ood_rate is 0.2, found 0.3" in str(refusal)


def test_refusal_of_a_run_without_a_scored_row_comes_before_the_gate(out):
    nothing = a_manifest(out, classes={}, rows_in=3, rows_rejected=3, rows_ood=0)
    put_manifest(nothing)
    seen = Seen.look(nothing, None)
    failed = Check(check="max_ood_rate", value=0.3, limit=0.2, ok=False)
    refusal = seen.refusal(seen.targets(force=False), [failed])
    assert isinstance(refusal, ErrorRateError)
    assert "none of the 3 ads was scored" in str(refusal)


@pytest.mark.parametrize(
    ("finished_at", "is_old"),
    [
        ("2026-11-25T09:59:59+00:00", True),
        ("2026-11-25T10:00:00+00:00", False),
        ("2026-11-25T12:59:59+03:00", True),
        ("2026-11-25T07:00:00-03:00", False),
    ],
)
def test_refusal_of_a_run_of_the_same_day_goes_by_the_moment_it_was_finished(
    out, finished_at, is_old
):
    _name(out, put_run(out, DAY, "named", finished="10"))
    run = a_manifest(out, "r2", finished_at=finished_at)
    put_manifest(run)
    seen = Seen.look(run, None)
    refusal = seen.refusal(seen.targets(force=False), [])
    assert (refusal is not None) is is_old
    if is_old:
        assert f"(run_date {DAY}, finished {finished_at}) than run_date={DAY}" in str(
            refusal
        )
        assert str(refusal).endswith("Run `publish --force REASON` to go back to it")


def test_refusal_of_an_old_backfill_says_to_roll_the_day_back(out):
    root = f"{out}/run_date={DAY}"
    _name(root, put_run(out, DAY, "named", finished="10"))
    seen = Seen.look(put_run(out, DAY, "late", finished="09"), NOTHING)
    refusal = seen.refusal(seen.targets(force=False), [])
    assert str(refusal).endswith(f"Run `rollback --output_uri {root}` first")


def test_check_not_rolled_back_gives_the_reason_of_the_manifest_first(out):
    run = changed(a_manifest(out), outcome="rolled_back", rollback_reason="noted")
    with pytest.raises(
        PublicationRefusedError,
        match=r"r1: this run was rolled back \(noted\)\. .*--force",
    ):
        check_not_rolled_back(run, [], run.run_uri)


def test_check_not_rolled_back_gives_the_reason_of_the_pointer_if_the_run_does_not_say(
    out,
):
    run = put_run(out, DAY, "bad")
    path = f"run_date={DAY}/run_id=bad"
    named = put_run(out, DAY, "good")
    last = TakenBack(path=path, reason="wrong labels")
    _name(out, named, taken_back=[path], rolled_back=last)
    with pytest.raises(
        PublicationRefusedError, match=r"was rolled back \(wrong labels\)"
    ):
        check_not_rolled_back(run, [look(out)], run.run_uri)
    other = TakenBack(path="run_date=2026-11-24/run_id=worse", reason="not of this run")
    _name(out, named, taken_back=[other.path, path], rolled_back=other)
    with pytest.raises(PublicationRefusedError) as caught:
        check_not_rolled_back(None, [look(out)], run.run_uri)
    assert f"was rolled back ({out}/latest.json says so)" in str(caught.value)


def test_check_not_rolled_back_lets_a_run_be_that_nobody_took_back(out):
    run = put_run(out, DAY, "r1")
    _name(out, run)
    check_not_rolled_back(run, [look(out)], run.run_uri)
    check_not_rolled_back(None, [look(f"{out}/empty")], run.run_uri)


def test_manifest_at_is_the_named_run_unless_that_is_the_one_that_asks(out):
    assert manifest_at(look(out)) is None
    run = put_run(out, DAY, "r1")
    _name(out, run)
    assert manifest_at(look(out)) == run
    assert manifest_at(look(out), other_than=run.run_uri) is None
    assert manifest_at(look(out), other_than=f"{out}/run_date={DAY}/run_id=r2") == run


def test_manifest_at_a_pointer_whose_run_is_gone_is_none_and_says_so(out, caplog):
    run = put_run(out, DAY, "gone")
    _name(out, run)
    shutil.rmtree(run.run_uri)
    assert manifest_at(look(out)) is None
    assert f"{run.run_uri}, the last published run, is gone" in caplog.text

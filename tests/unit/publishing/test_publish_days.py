"""Pointers of past days: the catalogue never goes back in time, a start that dies half-way is
repeated."""

import json
from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.errors import InputError, PartialRunError, PublicationRefusedError
from rubert_ood.publishing import publish
from rubert_ood.publishing.pointer import (
    named_by,
    read_pointer,
)
from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.publishing.seen import Comparison
from rubert_ood.runs.manifest import Check, read_manifest
from rubert_ood.settings import GateSettings
from tests.conftest import patch_storage
from tests.unit.publishing.days import OPEN, named, publish_day, put_run, run_before_of
from tests.unit.publishing.manifests import changed, put_manifest


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "out")


def test_publish_of_an_older_day_leaves_the_catalogue_alone(out):
    publish_run(put_run(out, "2026-11-20", "night20"), OPEN)
    publish_run(put_run(out, "2026-11-24", "night24"), OPEN)
    catalogue = Path(out, "latest.json").read_bytes()
    manifest = publish_day(put_run(out, "2026-11-20", "again"))
    assert Path(out, "latest.json").read_bytes() == catalogue
    assert named(out, "2026-11-20") == "again"
    assert manifest.pointers == ["run_date=2026-11-20/latest.json"]
    assert read_manifest(manifest.run_uri).outcome == "published"
    assert named_by(manifest.run_uri)


@pytest.mark.parametrize("day", ["2026-11-24", "2026-11-25"])
def test_publish_of_the_same_day_or_a_later_one_moves_both_pointers(out, day):
    publish_run(put_run(out, "2026-11-24", "night24"), OPEN)
    manifest = publish_day(put_run(out, day, "again"))
    assert (named(out), named(out, day)) == ("again", "again")
    assert read_pointer(out).history == ["run_date=2026-11-24/run_id=night24"]
    assert set(manifest.pointers) == {"latest.json", f"run_date={day}/latest.json"}


def test_days_before_anything_was_published_move_the_catalogue_forward_only(out):
    for day in ("2026-11-21", "2026-11-20", "2026-11-22"):
        publish_day(put_run(out, day, f"r{day[-2:]}"))
    assert named(out) == "r22"
    assert read_pointer(out).history == ["run_date=2026-11-21/run_id=r21"]
    assert named(out, "2026-11-20") == "r20"


def test_a_day_that_was_published_before_its_first_backfill_can_be_taken_back(out):
    publish_run(put_run(out, "2026-11-20", "night20"), OPEN)
    publish_run(put_run(out, "2026-11-24", "night24"), OPEN)
    bad = publish_day(put_run(out, "2026-11-20", "again"))
    roll_back(f"{out}/run_date=2026-11-20", "wrong labels")
    assert named(out, "2026-11-20") == "night20"
    assert read_manifest(bad.run_uri).outcome == "rolled_back"
    put_run(out, "2026-11-21", "never_published")
    publish_day(put_run(out, "2026-11-21", "first"))
    with pytest.raises(InputError, match="only one run was published"):
        roll_back(f"{out}/run_date=2026-11-21", "wrong labels")


def test_churn_over_the_limit_is_refused_and_said(out):
    publish_run(put_run(out, "2026-11-20", "night"), OPEN)
    manifest = put_run(out, "2026-11-20", "again")
    with pytest.raises(
        PublicationRefusedError, match=r"gate\.max_churn is 0\.3, found 0\.31"
    ):
        publish_day(manifest, GateSettings(max_class_shift=1), churn_rate=0.31)
    noted = read_manifest(manifest.run_uri)
    assert noted.outcome == "refused"
    assert noted.gate[-1] == Check(check="max_churn", value=0.31, limit=0.3, ok=False)
    assert (named(out), named(out, "2026-11-20")) == ("night", None)
    assert (
        publish_day(manifest, GateSettings(max_class_shift=1), churn_rate=0.3).outcome
        == "published"
    )


def test_the_gate_judges_against_what_the_swap_replaces(out):
    """A later day replaces the newest catalogue, ten times as large; an older one replaces its own
    small night."""
    publish_run(put_run(out, "2026-11-20", "night20", rows=100), OPEN)
    publish_run(put_run(out, "2026-11-24", "night24", rows=1000), OPEN)
    assert (
        publish_day(put_run(out, "2026-11-20", "again", rows=90)).outcome == "published"
    )
    with pytest.raises(PublicationRefusedError, match="min_rows_ratio"):
        publish_day(put_run(out, "2026-11-25", "later", rows=90), churn_rate=None)


@pytest.mark.parametrize(
    "dies_at",
    ["run_date=2026-11-24/latest.json", "out/latest.json", "_run/manifest.json"],
)
@pytest.mark.parametrize("after", [False, True])
def test_a_start_that_dies_at_a_write_is_repeated(out, monkeypatch, dies_at, after):
    publish_run(put_run(out, "2026-11-24", "night"), OPEN)
    manifest = put_run(out, "2026-11-24", "again")

    def dying(real):
        def write(uri, *arguments):
            if not uri.endswith(dies_at):
                return real(uri, *arguments)
            if after:
                real(uri, *arguments)
            raise KeyboardInterrupt

        return write

    with monkeypatch.context() as patch:
        patch_storage(patch, "swap_bytes", dying(storage.swap_bytes))
        patch_storage(patch, "put_bytes", dying(storage.put_bytes))
        with pytest.raises(KeyboardInterrupt):
            publish_day(manifest)
    assert read_manifest(manifest.run_uri).outcome == "complete"
    assert named(out) in ("night", "again")
    assert publish_day(manifest).outcome == "published"
    for root in (out, f"{out}/run_date=2026-11-24"):
        pointer = json.loads(Path(root, "latest.json").read_text())
        assert pointer["run_id"] == "again"
        assert pointer["history"] == (
            ["run_date=2026-11-24/run_id=night"] if root == out else ["run_id=night"]
        )


def test_a_run_that_came_in_between_is_not_overwritten_unseen(out, monkeypatch):
    publish_run(put_run(out, "2026-11-20", "night"), OPEN)
    manifest = put_run(out, "2026-11-20", "again")
    before = run_before_of(manifest)
    publish_day(put_run(out, "2026-11-20", "rival"))
    with pytest.raises(
        PartialRunError, match="another run of this day was published meanwhile"
    ):
        publish_run(manifest, OPEN, compared=Comparison(before, 0.1))
    assert named(out, "2026-11-20") == "rival"

    before = run_before_of(manifest)
    real = publish.swap

    def rival_first(place, pointer):  # between the reading of the pointers and the swap
        monkeypatch.setattr(publish, "swap", real)
        publish_day(put_run(out, "2026-11-20", "second_rival"))
        return real(place, pointer)

    monkeypatch.setattr(publish, "swap", rival_first)
    with pytest.raises(
        PartialRunError, match="another run of this day was published meanwhile"
    ):
        publish_run(manifest, OPEN, compared=Comparison(before, 0.1))
    assert named(out, "2026-11-20") == "second_rival"


def test_a_day_whose_catalogue_another_run_took_meanwhile_is_noted_as_published(
    out, monkeypatch, caplog
):
    """The pointer of the day is swapped by then: its readers see the run, whatever comes after."""
    day = "2026-11-24"
    publish_run(put_run(out, day, "night"), OPEN)
    backfilled = put_run(out, day, "backfilled", finished="12")
    swap, rivals = (
        storage.swap_bytes,
        [put_run(out, day, "rival", finished="11", rows=1000)],
    )

    def late(uri, data, version):
        if rivals and uri == f"{out}/latest.json":
            publish_run(rivals.pop(), OPEN)
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", late)
    strict = OPEN.model_copy(update={"min_rows_ratio": 0.9})
    with pytest.raises(PublicationRefusedError, match=r"min_rows_ratio is 0\.9, found 0"):
        publish_day(backfilled, strict)
    assert (named(out, day), named(out)) == ("backfilled", "rival")
    noted = read_manifest(backfilled.run_uri)
    pointer = f"run_date={day}/latest.json"
    assert (noted.outcome, noted.pointers) == ("published", [pointer])
    assert f"{pointer} names this run all the same" in caplog.text


def test_a_day_is_rolled_back_by_the_same_code(out):
    publish_run(put_run(out, "2026-11-24", "night24"), OPEN)
    first, second = (
        publish_day(put_run(out, "2026-11-20", name)) for name in ("first", "second")
    )
    roll_back(f"{out}/run_date=2026-11-20", "wrong")
    assert (named(out, "2026-11-20"), named(out)) == ("first", "night24")
    assert read_manifest(second.run_uri).outcome == "rolled_back"
    assert read_manifest(first.run_uri).outcome == "published"
    assert read_manifest(first.run_uri).pointers == ["run_date=2026-11-20/latest.json"]


def test_a_backfill_that_was_killed_is_not_published_over_a_later_one(out):
    """It finished at 10, and is resumed when another backfill of the day, of 11, is published."""
    killed = put_run(out, "2026-11-20", "killed", finished="10")
    publish_day(put_run(out, "2026-11-20", "later", finished="11"))
    pointers = [
        Path(root, "latest.json").read_bytes()
        for root in (out, f"{out}/run_date=2026-11-20")
    ]
    with pytest.raises(
        PublicationRefusedError,
        match=r"Run `rollback --output_uri \S+run_date=2026-11-20` first",
    ):
        publish_day(killed)
    assert [
        Path(root, "latest.json").read_bytes()
        for root in (out, f"{out}/run_date=2026-11-20")
    ] == pointers
    assert read_manifest(killed.run_uri).outcome == "refused"
    newest = put_run(out, "2026-11-20", "newest", finished="12")
    assert publish_day(newest).outcome == "published"


def test_a_backfill_of_a_day_that_finished_before_the_night_moves_the_day_alone(out):
    publish_run(put_run(out, "2026-11-24", "night", finished="11"), OPEN)
    manifest = publish_day(put_run(out, "2026-11-24", "again", finished="10"))
    assert (named(out), named(out, "2026-11-24")) == ("night", "again")
    assert manifest.pointers == ["run_date=2026-11-24/latest.json"]


def test_a_backfill_that_was_superseded_before_it_could_say_so_moves_no_pointer_again(
    out,
):
    killed = publish_day(put_run(out, "2026-11-20", "killed", finished="10"))
    put_manifest(changed(killed, outcome="complete"))
    publish_day(put_run(out, "2026-11-20", "later", finished="11"))
    manifest = publish_day(changed(killed, outcome="complete"))
    assert (manifest.outcome, manifest.pointers) == ("published", [])
    assert (named(out), named(out, "2026-11-20")) == ("later", "later")


def test_a_damaged_manifest_beside_a_day_does_not_stop_its_backfill(out, caplog):
    manifest = put_run(out, "2026-11-20", "new")
    broken = Path(out, "run_date=2026-11-20", "run_id=broken", "_run", "manifest.json")
    broken.parent.mkdir(parents=True)
    broken.write_text("[]")
    assert publish_day(manifest).outcome == "published"
    assert f"looks for the previous run: {broken}: the file is damaged" in caplog.text


def test_a_run_that_another_pointer_still_names_is_not_called_rolled_back(out, caplog):
    publish_run(put_run(out, "2026-11-24", "night"), OPEN)
    again = publish_day(put_run(out, "2026-11-24", "again"))
    roll_back(out, "wrong")
    noted = read_manifest(again.run_uri)
    assert (noted.outcome, noted.pointers) == (
        "published",
        ["run_date=2026-11-24/latest.json"],
    )
    assert "run_date=2026-11-24/latest.json still names that run" in caplog.text

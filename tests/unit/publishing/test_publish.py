import dataclasses
import json
import os
import shutil
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.errors import (
    ErrorRateError,
    PartialRunError,
    PublicationRefusedError,
)
from rubert_ood.publishing import publish
from rubert_ood.publishing.pointer import look, read_pointer
from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.publishing.seen import manifest_at
from rubert_ood.runs.manifest import Check, Manifest, read_manifest
from rubert_ood.runs.receipts import read_receipts
from rubert_ood.runs.reuse import IndexName
from rubert_ood.settings import GateSettings
from tests.conftest import patch_storage
from tests.unit.publishing.manifests import a_manifest, changed, put_manifest

DAY = "run_date=2026-11-24"


def _publish(manifest: Manifest, **limits) -> Manifest:
    put_manifest(manifest)
    return publish_run(manifest, GateSettings(**limits))


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "out")


def test_a_published_run_is_what_the_pointer_names(out):
    before = datetime.now(UTC).replace(microsecond=0)
    manifest = _publish(a_manifest(out))
    pointer = json.loads(Path(out, "latest.json").read_text())
    assert datetime.fromisoformat(pointer.pop("published_at")) >= before
    assert pointer == {
        "path": "run_date=2026-11-24/run_id=r1",
        "run_id": "r1",
        "run_date": "2026-11-24",
        "bundle": "f" * 64,
        "finished_at": "2026-11-25T03:00:00+00:00",
        "history": [],
        "taken_back": [],
    }
    assert manifest.outcome == "published"
    checks = [
        "max_error_rate",
        "max_quarantined_share",
        "max_duplicate_rate",
        "max_ignored_files",
        "max_ood_rate",
        "max_other_rate",
    ]
    assert [check.check for check in manifest.gate] == checks
    assert read_manifest(os.path.join(out, pointer["path"])) == manifest
    assert manifest_at(look(out)) == manifest


def test_a_refused_run_keeps_the_pointer_and_its_output(out):
    _publish(a_manifest(out))
    pointer = Path(out, "latest.json").read_bytes()
    bad = a_manifest(out, "r2", rows_ood=21)
    with pytest.raises(
        PublicationRefusedError,
        match=(
            "r2: the gate refuses this run, which is kept but not published:"
            r" gate\.max_ood_rate is 0\.2, found 0\.21"
        ),
    ) as e:
        _publish(bad)
    assert e.value.exit_code == 5
    assert Path(out, "latest.json").read_bytes() == pointer
    stored = read_manifest(bad.run_uri)
    assert stored.outcome == "refused"
    assert [check.check for check in stored.gate if not check.ok] == ["max_ood_rate"]


def test_a_first_run_that_is_refused_leaves_no_pointer(out):
    with pytest.raises(PublicationRefusedError):
        _publish(a_manifest(out), max_other_rate=0.05)
    assert read_pointer(out) is None


def test_publish_names_every_failed_check(out):
    with pytest.raises(
        PublicationRefusedError,
        match=r"max_ood_rate is 0\.01, found 0\.05, gate\.max_other_rate is 0\.01, found 0\.1",
    ):
        _publish(a_manifest(out), max_ood_rate=0.01, max_other_rate=0.01)


def test_too_many_rejected_rows_are_an_error_rate(out):
    manifest = a_manifest(out, rows_in=102, rows_rejected=2)
    with pytest.raises(
        ErrorRateError, match=r"gate\.max_error_rate is 0\.01, found 0\.0196"
    ) as error:
        _publish(manifest)
    assert error.value.exit_code == 4
    assert read_manifest(manifest.run_uri).outcome == "refused"
    assert read_pointer(out) is None
    _publish(
        manifest, max_error_rate=0.02
    )  # after a look at the rows, with another limit
    assert read_pointer(out).run_id == "r1"


def test_publish_compares_the_second_run_with_the_first(out):
    _publish(a_manifest(out, "r1", {"Мебель": 100}))
    with pytest.raises(
        PublicationRefusedError, match=r"max_class_shift is 0\.3, found 1"
    ):
        _publish(a_manifest(out, "r2", {"Шины": 100}))
    second = _publish(a_manifest(out, "r3", {"Мебель": 90, "Шины": 10}))
    assert len(second.gate) == 8
    third = _publish(a_manifest(out, "r4", {"Мебель": 90, "Шины": 10}))
    shift = third.gate[6]
    assert shift.value == pytest.approx(
        0, abs=1e-9
    )  # compared with r3, the last published one, not with r1
    assert read_pointer(out).run_id == "r4"
    with pytest.raises(
        PublicationRefusedError, match=r"min_rows_ratio is 0\.5, found 0\.49"
    ):
        _publish(a_manifest(out, "r5", {"Мебель": 44, "Шины": 5}))


def test_publishing_the_same_run_again_does_not_compare_it_with_itself(out):
    first = _publish(a_manifest(out))
    again = publish_run(read_manifest(first.run_uri), GateSettings())
    assert again == first
    assert len(again.gate) == 6
    assert read_pointer(out).run_id == "r1"


@pytest.mark.parametrize("has_left", [False, True])
@pytest.mark.parametrize("force", [None, "it was looked at"])
def test_publish_a_run_that_was_published_notes_what_is_mended_without_asking_the_gate(
    out, force, has_left
):
    run = a_manifest(out, "r1", {"Мебель": 100})
    put_manifest(run)
    limits = GateSettings(max_other_rate=0 if force else 1, max_ood_rate=1)
    first = publish_run(run, limits, force=force)
    if has_left:
        _publish(a_manifest(out, "r2", {"Шины": 100}), max_class_shift=1)
    pointer = Path(out, "latest.json").read_bytes()
    index = IndexName(sha256="a" * 64, texts=3, size=9)
    mended = a_manifest(out, "r1", {"Мебель": 100}).model_copy(update={"index": index})
    strict = GateSettings(max_other_rate=0, max_ood_rate=0, max_class_shift=0)
    noted = publish_run(mended, strict)
    assert noted == read_manifest(run.run_uri)
    assert (noted.index, noted.outcome) == (index, "published")
    assert (noted.gate, noted.forced) == (first.gate, force)
    assert Path(out, "latest.json").read_bytes() == pointer


def test_publish_a_run_that_readers_have_left_goes_back_by_force_only(out):
    first = _publish(a_manifest(out, "r1"))
    _publish(a_manifest(out, "r2"))
    pointer = Path(out, "latest.json").read_bytes()
    again = publish_run(read_manifest(first.run_uri), GateSettings())
    assert (again.outcome, again.pointers) == ("published", [])
    assert Path(out, "latest.json").read_bytes() == pointer
    forced = publish_run(
        read_manifest(first.run_uri), GateSettings(), force="r2 is wrong"
    )
    assert (read_pointer(out).path, read_pointer(out).history) == (
        f"{DAY}/run_id=r1",
        [f"{DAY}/run_id=r2"],
    )
    assert forced.gate[7] == Check(check="min_rows_ratio", value=1, limit=0.5, ok=True)


@pytest.mark.parametrize(
    ("run_date", "finished_at", "goes_on"),
    [
        (
            "2026-11-23",
            "2026-11-26T03:00:00+00:00",
            False,
        ),  # yesterday's run, finished today
        ("2026-11-24", "2026-11-25T02:59:59+00:00", False),
        ("2026-11-24", "2026-11-25T03:00:00+00:00", True),
        ("2026-11-24", "2026-11-25T05:00:00+03:00", False),  # another zone: 02:00
        ("2026-11-24", "2026-11-25T03:00:01+00:00", True),
        ("2026-11-25", "2026-11-24T00:00:00+00:00", True),
    ],
)
@pytest.mark.parametrize("written_by", ["this version", "0.2.0"])
def test_publish_a_run_older_than_the_named_one_is_refused(
    out, run_date, finished_at, goes_on, written_by
):
    _publish(a_manifest(out, "r1"))
    if written_by == "0.2.0":
        _edit_pointer(out, finished_at=None, taken_back=None)
    pointer = Path(out, "latest.json").read_bytes()
    run = a_manifest(out, "r2", run_date=run_date, finished_at=finished_at)
    if goes_on:
        assert _publish(run).outcome == "published"
        assert read_pointer(out).run_id == "r2"
        return
    with pytest.raises(PublicationRefusedError, match="it is older") as error:
        _publish(run)
    for words in (
        f"run_date={run_date}/run_id=r2",
        f"{DAY}/run_id=r1",
        "publish --force REASON",
    ):
        assert words in str(error.value)
    assert error.value.exit_code == 5
    assert Path(out, "latest.json").read_bytes() == pointer
    noted = read_manifest(run.run_uri)
    assert (noted.outcome, noted.refusal_reason) == ("refused", str(error.value))
    assert publish_run(noted, GateSettings(), force="on purpose").refusal_reason == ""
    assert read_pointer(out).run_id == "r2"


def _edit_pointer(out: str, **changes) -> None:
    path = Path(out, "latest.json")
    content = json.loads(path.read_text()) | changes
    path.write_text(
        json.dumps({name: value for name, value in content.items() if value is not None})
    )


def test_publish_whose_named_run_is_gone_compares_days_alone(out):
    shutil.rmtree(_publish(a_manifest(out, "r1")).run_uri)
    _edit_pointer(out, finished_at=None)
    with pytest.raises(PublicationRefusedError, match="it is older"):
        _publish(a_manifest(out, "r2", run_date="2026-11-23"))
    early = a_manifest(out, "r3", finished_at="2026-11-24T00:00:00+00:00")
    assert _publish(early).outcome == "published"


def test_a_publisher_that_slept_while_a_newer_run_was_published_is_refused(
    out, monkeypatch
):
    """It has looked at everything, and sleeps right before its swap."""
    swap, rivals = (
        storage.swap_bytes,
        [a_manifest(out, "newer", finished_at="2026-11-25T04:00:00+00:00")],
    )

    def late(uri, data, version):
        if rivals and uri.endswith("latest.json"):
            _publish(rivals.pop())
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", late)
    sleeper = a_manifest(out, "sleeper")
    with pytest.raises(PublicationRefusedError, match="it is older"):
        _publish(sleeper)
    assert (read_pointer(out).run_id, read_pointer(out).history) == ("newer", [])
    assert read_manifest(sleeper.run_uri).outcome == "refused"


@pytest.mark.parametrize("force", [None, "on purpose"])
def test_a_swap_whose_answer_got_lost_while_another_publisher_followed_counts(
    out, monkeypatch, force
):
    _publish(a_manifest(out, "r0"))
    swap, rivals = (
        storage.swap_bytes,
        [a_manifest(out, "newer", finished_at="2026-11-25T04:00:00+00:00")],
    )

    def answer_lost(uri, data, version):
        swapped = swap(uri, data, version)
        if rivals and uri.endswith("latest.json"):
            _publish(rivals.pop())
            return False
        return swapped

    ours = a_manifest(out, "ours")
    put_manifest(ours)
    patch_storage(monkeypatch, "swap_bytes", answer_lost)
    manifest = publish_run(ours, GateSettings(), force=force)
    assert (manifest.outcome, manifest.pointers) == ("published", [])
    assert read_pointer(out).paths == [
        f"{DAY}/run_id={name}" for name in ("newer", "ours", "r0")
    ]


def test_a_run_that_is_rolled_back_while_its_publisher_sleeps_stays_rolled_back(
    out, monkeypatch
):
    _publish(a_manifest(out, "r0"))
    swap, sleeping = storage.swap_bytes, [True]

    def slow(uri, data, version):
        swapped = swap(uri, data, version)
        if sleeping and uri.endswith("latest.json"):
            sleeping.clear()
            roll_back(out, "wrong labels")
        return swapped

    patch_storage(monkeypatch, "swap_bytes", slow)
    bad = a_manifest(out, "bad")
    with pytest.raises(
        PublicationRefusedError, match=r"was rolled back \(wrong labels\)"
    ):
        _publish(bad)
    assert read_pointer(out).run_id == "r0"
    assert read_manifest(bad.run_uri).outcome == "rolled_back"


def test_a_run_that_is_rolled_back_before_its_outcome_is_noted_stays_rolled_back(
    out, monkeypatch
):
    _publish(a_manifest(out, "r0"))
    note, sleeping = publish.note_published, [True]

    def slow(noted):
        if sleeping:
            sleeping.clear()
            roll_back(out, "wrong labels")
        return note(noted)

    monkeypatch.setattr(publish, "note_published", slow)
    assert _publish(a_manifest(out, "bad")).outcome == "rolled_back"


def test_a_rolled_back_run_whose_manifest_does_not_say_so_is_refused(out):
    """The process that rolled it back died before it could note it; other runs came after."""
    _publish(a_manifest(out, "r0"))
    bad = a_manifest(out, "bad")
    _publish(bad)
    roll_back(out, "wrong labels")
    put_manifest(bad)
    _publish(a_manifest(out, "r1"))
    with pytest.raises(PublicationRefusedError, match="was rolled back"):
        publish_run(bad, GateSettings())
    publish_run(bad, GateSettings(), force="it was right")
    assert (read_pointer(out).run_id, read_pointer(out).taken_back) == ("bad", [])


def test_a_publisher_that_lost_its_claim_swaps_nothing(out):
    def taken_over() -> None:
        raise PartialRunError("claimed by another")

    manifest = a_manifest(out)
    put_manifest(manifest)
    with pytest.raises(PartialRunError, match="claimed by another"):
        publish_run(manifest, GateSettings(), claim=taken_over)
    assert read_pointer(out) is None
    assert read_manifest(manifest.run_uri).outcome == "complete"


def test_a_run_without_a_scored_row_is_refused_whatever_the_gate_says(out):
    wide_open = GateSettings(max_error_rate=1, min_rows_ratio=0, max_class_shift=1)
    manifest = a_manifest(
        out, classes={}, rows_rejected=7, rows_quarantined=3, rows_planned=10, rows_ood=0
    )
    put_manifest(changed(manifest, rejected_reasons={"ad_id is null": 7}))
    with pytest.raises(
        ErrorRateError,
        match=r"none of the 10 ads was scored .7 rejected, 3 in quarantined",
    ) as error:
        publish_run(manifest, wide_open)
    assert error.value.exit_code == 4
    assert read_pointer(out) is None
    assert read_manifest(manifest.run_uri).outcome == "refused"
    assert (
        publish_run(manifest, wide_open, force="the shop is closed").outcome
        == "published"
    )


def test_the_pointer_is_swapped_between_the_whole_manifest_and_its_outcome(
    out, monkeypatch
):
    puts, swap = [], storage.swap_bytes

    def watched(uri, *arguments):
        puts.append(os.path.basename(uri))
        return swap(uri, *arguments)

    patch_storage(monkeypatch, "swap_bytes", watched)
    _publish(a_manifest(out))
    assert puts[-3:] == ["manifest.json", "latest.json", "manifest.json"]


def test_a_real_run_is_found_through_the_pointer(full_run, tmp_path):
    out = tmp_path / "elsewhere"
    folder = out / "run_date=2026-11-24" / f"run_id={full_run.plan.run_id}"
    shutil.copytree(full_run.folder, folder)
    plan = dataclasses.replace(full_run.plan, run_uri=str(folder), output_uri=str(out))
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    manifest = Manifest.of(
        plan, receipts, outcome="complete", started_at=f"{date.today()}T00:00:00+00:00"
    )
    gate = publish_run(
        manifest, GateSettings(max_error_rate=0.15, max_ood_rate=1, max_other_rate=1)
    ).gate
    assert gate[0].value == pytest.approx(17 / 120)
    path = json.loads((out / "latest.json").read_text())["path"]
    assert (out / path) == folder
    assert len(list((out / path).glob("data-*.parquet"))) == 3


def test_a_forced_publication_keeps_its_reason_and_the_failed_checks(out):
    bad = a_manifest(out, rows_ood=90)
    put_manifest(bad)
    manifest = publish_run(
        bad, GateSettings(), force="the new bundle is stricter, checked by hand"
    )
    assert read_pointer(out).run_id == "r1"
    stored = read_manifest(bad.run_uri)
    assert stored == manifest
    assert (stored.outcome, stored.forced) == (
        "published",
        "the new bundle is stricter, checked by hand",
    )
    assert [check.check for check in stored.gate if not check.ok] == ["max_ood_rate"]


def test_publish_judges_quarantined_files_and_duplicate_ids(out):
    manifest = a_manifest(out, bytes_in=1000, bytes_quarantined=11)
    with pytest.raises(
        PublicationRefusedError,
        match=r"gate\.max_quarantined_share is 0\.01, found 0\.011",
    ):
        _publish(manifest)
    _publish(manifest, max_quarantined_share=0.011)
    twice = changed(
        a_manifest(out, "r2"), duplicates={"ids": 1, "rows": 2, "examples": []}
    )
    with pytest.raises(
        PublicationRefusedError, match=r"gate\.max_duplicate_rate is 0\.01, found 0\.02"
    ):
        _publish(twice)
    aside = a_manifest(out, "r3", rows_planned=105, rows_quarantined=5)
    with pytest.raises(
        ErrorRateError, match=r"gate\.max_error_rate is 0\.01, found 0\.0476"
    ):
        _publish(aside)


def test_many_publishers_at_once_lose_none_of_them(out):
    names = [f"r{number}" for number in range(8)]
    failures = []

    def publish(name: str) -> None:
        try:
            _publish(a_manifest(out, name))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [error for error in failures if not isinstance(error, PartialRunError)]
    pointer = read_pointer(out)
    seen = [path.rpartition("=")[2] for path in pointer.paths]
    assert len(seen) == len(set(seen)) == len(names) - len(failures)


def test_the_gate_judges_against_the_run_that_the_swap_replaces(out, monkeypatch):
    """Another publisher is faster, between the look at the pointer and the swap."""
    _publish(a_manifest(out, "r1"))
    swap, rivals = storage.swap_bytes, [a_manifest(out, "rival", {"Шины": 100})]

    def late(uri, data, version):
        if rivals:
            rival = rivals.pop()
            put_manifest(rival)
            publish_run(rival, GateSettings(max_class_shift=1))
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", late)
    with pytest.raises(PublicationRefusedError, match="max_class_shift"):
        _publish(a_manifest(out, "r2"))
    assert read_pointer(out).run_id == "rival"


def test_publish_whose_swap_got_no_answer_counts(out, monkeypatch):
    swap = storage.swap_bytes
    patch_storage(
        monkeypatch, "swap_bytes", lambda *arguments: swap(*arguments) and False
    )
    assert _publish(a_manifest(out)).outcome == "published"
    assert read_pointer(out).run_id == "r1"


def test_a_reader_never_sees_a_run_that_is_not_whole(out):
    """Readers follow the pointer while runs are published and rolled back."""
    runs = [a_manifest(out, f"r{number}") for number in range(20)]
    stop, seen, torn = threading.Event(), set(), []

    def read() -> None:
        while not stop.is_set():
            pointer = read_pointer(out)
            if pointer is not None:
                manifest = read_manifest(os.path.join(out, pointer.path))
                seen.add(pointer.run_id)
                if manifest.run_id != pointer.run_id or not manifest.gate:
                    torn.append(manifest)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number, manifest in enumerate(runs):
            _publish(manifest)
            if number % 5 == 4:
                roll_back(out, "x")
    finally:
        stop.set()
        reader.join()
    assert torn == []
    assert len(seen) > 3

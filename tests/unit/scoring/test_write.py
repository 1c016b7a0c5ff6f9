"""Workers that come late, of a start whose claim has ended; and what a shard becomes when it is
written twice."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.errors import VerificationError
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.publishing.publish import publish_run
from rubert_ood.runs.check_part import check_part
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.receipts import read_receipts
from rubert_ood.runs.reuse import (
    ReuseCounts,
    ReusedRun,
    ReuseStop,
    find_stop,
    stop_reuse,
)
from rubert_ood.runs.verify import VerifiedRun, complete_manifest, verify_run
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.item import ShardItem
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.write import all_texts, part_table, write
from rubert_ood.settings import GateSettings
from tests.conftest import patch_storage
from tests.unit.messy_runs import seal_plan

WIDE_OPEN = GateSettings(max_error_rate=1, max_ood_rate=1, max_other_rate=1)


@pytest.fixture
def empty_run(make_run):
    """A run of one shard with two rejected rows, planned and not yet written."""
    ads = {
        "ad_id": [None, "", *map(str, range(6))],
        "title": ["Диван"] * 8,
        "description": list("абвгдежз"),
    }
    run = make_run(pa.table(ads))
    for path in run.folder.rglob("*"):
        if path.is_file() and path.name != "plan.json":
            path.unlink()
    return run


@pytest.fixture
def scored(empty_run):
    """What the scorer makes of the shard, and what another processor would: the last bits
    differ."""
    job = _job(empty_run, "")
    item = Scorer(job)(encode(ShardItem(empty_run.plan.shards[0]), job))
    texts = item.texts
    position = texts.schema.get_field_index("ood_distance")
    other = texts.set_column(
        position, "ood_distance", pc.multiply(texts["ood_distance"], 1 + 1e-12)
    )
    return item, replace(item, texts=other)


def _job(run, token: str) -> ScoringJob:
    return ScoringJob.of(run.plan, token)


def _files(run) -> dict[str, bytes]:
    """Return what lies in the run folder, but for who holds it."""
    found = [
        path
        for path in run.folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    ]
    return {
        str(path.relative_to(run.folder)): path.read_bytes()
        for path in found
        if path.name != "runner.json"
    }


def _verify(run) -> VerifiedRun:
    """Seal what was written, which checks each part, and verify the run."""
    receipts = read_receipts(run.plan.run_uri, run.plan.fingerprint)
    seal_plan(run.plan, list(receipts.values()), (0,))
    return verify_run(run.plan)


def _publish(run) -> None:
    started_at = "2026-11-25T02:00:00+00:00"
    publish_run(complete_manifest(run.plan, _verify(run), started_at), WIDE_OPEN)
    assert not run.part(0).exists()  # readers have the sealed file


def _damage_part(run, item) -> None:
    """Leave a shard whose part is not the one of its receipt."""
    assert not write(item, _job(run, "")).failure
    run.part(0).write_bytes(run.part(0).read_bytes()[:-50])


def _no_receipt(run, item) -> None:
    assert not write(item, _job(run, "")).failure
    next((run.folder / "_run" / "receipts").iterdir()).unlink()


@pytest.mark.parametrize(
    ("prepare", "sleeps_before"),
    [
        (None, "_errors/"),
        (None, "_parts/"),
        (None, "_run/receipts/"),
        (_no_receipt, "_run/receipts/"),
        (_damage_part, "_parts/"),
        (_damage_part, "_run/receipts/"),
    ],
    ids=lambda value: value.__name__ if callable(value) else value,
)
def test_write_of_a_worker_that_sleeps_before_a_put_changes_nothing_published(
    empty_run, scored, monkeypatch, prepare, sleeps_before
):
    """It has asked who holds the run, and was told that it does; when it wakes up, the run is
    published."""
    early, late = scored
    if prepare:
        prepare(empty_run, early)
    older = Claim(empty_run.plan.run_uri)
    swap, published = storage.swap_bytes, {}

    def sleepy(uri, data, version):
        inner = uri[len(empty_run.plan.run_uri) + 1 :]
        if not published and inner.startswith(sleeps_before):
            published["not yet"] = b""
            newer = Claim(empty_run.plan.run_uri)
            assert not write(early, _job(empty_run, newer.token)).failure
            _publish(empty_run)
            newer.release()
            published.update(_files(empty_run))
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", sleepy)
    result = write(late, _job(empty_run, older.token))
    published.pop("not yet")
    assert len(published) >= 5
    found = _files(empty_run)
    found.pop(empty_run.plan.shards[0].part_name, None)  # which nobody reads any more
    assert found == published
    assert (
        "has claimed this run" in result.failure or not result.failure
    )  # what it would put is there
    verify_run(empty_run.plan)
    assert read_pointer(empty_run.plan.output_uri).run_id == empty_run.plan.run_id


def test_write_of_a_shard_whose_part_has_no_receipt_keeps_the_part_and_describes_it(
    empty_run, scored
):
    early, late = scored
    _no_receipt(empty_run, early)
    before = empty_run.part(0).read_bytes()
    assert not write(late, _job(empty_run, "")).failure
    assert empty_run.part(0).read_bytes() == before
    (receipt,) = _verify(empty_run).receipts.values()
    distances = pq.read_table(empty_run.part(0))["ood_distance"].drop_null().to_pylist()
    assert max(ad.ood_distance for ad in receipt.profile.top_ood) == max(distances)


def test_write_puts_a_receipt_of_one_line_that_says_the_same(empty_run, scored):
    assert not write(scored[0], _job(empty_run, "")).failure
    (path,) = (empty_run.folder / "_run" / "receipts").glob("*.json")
    assert len(path.read_bytes().splitlines()) == 1
    (receipt,) = _verify(empty_run).receipts.values()
    assert json.loads(path.read_bytes()) == json.loads(storage.to_json(receipt))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _without_rows(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


def _of_another_run(path: Path) -> None:
    table = pq.read_table(path)
    metadata = table.schema.metadata | {b"rubert_ood.run_id": b"other"}
    pq.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    "spoil", [_cut, _without_rows, _of_another_run], ids=lambda spoil: spoil.__name__
)
def test_write_replaces_a_part_without_receipt_that_is_not_that_of_the_shard(
    empty_run, scored, spoil
):
    early, late = scored
    _no_receipt(empty_run, early)
    spoil(empty_run.part(0))
    assert not write(late, _job(empty_run, "")).failure
    _verify(empty_run)


def test_write_replaces_a_part_that_was_edited_after_its_receipt(empty_run, scored):
    early, late, plan = *scored, empty_run.plan
    assert not write(early, _job(empty_run, "")).failure
    table = pq.read_table(empty_run.part(0))
    position = table.schema.get_field_index("ood_distance")
    pq.write_table(
        table.set_column(position, "ood_distance", pc.add(table["ood_distance"], 1)),
        empty_run.part(0),
    )
    (receipt,) = read_receipts(plan.run_uri, plan.fingerprint).values()
    with pytest.raises(VerificationError, match="changed after it was written"):
        check_part(plan, plan.shards[0], receipt)
    assert not write(late, _job(empty_run, "")).failure
    _verify(empty_run)


def test_write_replaces_damaged_rejected_rows(empty_run, scored):
    early, late = scored
    assert not write(early, _job(empty_run, "")).failure
    path = empty_run.folder / empty_run.plan.shards[0].rejected_name
    before = path.read_bytes()
    pq.write_table(pq.read_table(path).slice(1), path)
    assert not write(late, _job(empty_run, "")).failure
    assert path.read_bytes() == before
    _verify(empty_run)


def test_write_of_the_same_shard_again_changes_no_object(empty_run, scored):
    early, late = scored
    assert not write(early, _job(empty_run, "")).failure
    before = _files(empty_run)
    for item in (early, late):
        assert not write(item, _job(empty_run, "")).failure
    assert _files(empty_run) == before


def test_write_that_meets_a_damaged_receipt_stops_the_run_and_sets_no_shard_aside(
    empty_run, scored
):
    early, late = scored
    assert not write(early, _job(empty_run, "")).failure
    (path,) = (empty_run.folder / "_run" / "receipts").iterdir()
    path.write_text(json.dumps([1]))
    result = write(late, _job(empty_run, ""))
    assert (result.fault, f"{path}: the file is damaged" in result.failure) == (
        "run",
        True,
    )


def test_write_of_two_starts_gives_receipts_of_the_parts_that_are_there(
    empty_run, scored, monkeypatch
):
    """The older start's part comes first, its receipt last; the newer one writes in between."""
    early, late = scored
    older, swap, newer = Claim(empty_run.plan.run_uri), storage.swap_bytes, []

    def interleaved(uri, data, version):
        if "/receipts/" in uri and not newer:
            newer.append(Claim(empty_run.plan.run_uri))
            assert not write(late, _job(empty_run, newer[0].token)).failure
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", interleaved)
    write(early, _job(empty_run, older.token))
    _verify(empty_run)
    assert len(read_receipts(empty_run.plan.run_uri, empty_run.plan.fingerprint)) == 1


REUSED = ReusedRun(run_uri="before", run_id="old", index_sha256="0", check_fraction=0.5)
STOP = ReuseStop(
    shard_id="a", reused_uri="before", texts_checked=1, texts_mismatched=1, reason="x"
)


def _reusing(run, item) -> tuple[ShardItem, ScoringJob]:
    """Return the shard as it is where an earlier run has scored all texts but two."""
    texts = item.texts
    others = texts.slice(2)
    reused = others.append_column("scored_in", pa.array(["old"] * others.num_rows))
    counts = ReuseCounts(texts_scored=2, texts_reused=others.num_rows)
    taken = replace(item, texts=texts.slice(0, 2), reused=reused, reuse=counts)
    return taken, ScoringJob.of(replace(run.plan, reuse=REUSED))


def test_write_puts_what_is_taken_over_beside_what_was_scored(empty_run, scored):
    early, _ = scored
    item, job = _reusing(empty_run, early)
    expected = part_table(early.rows, all_texts(early, job), job)
    assert not write(item, job).failure
    part = pq.read_table(empty_run.part(0))
    names = [name for name in part.schema.names if name != "scored_in"]
    assert part.select(names).equals(expected.select(names))
    own = empty_run.plan.run_id
    assert part["scored_in"].to_pylist() == [own] * 2 + ["old"] * 4
    (receipt,) = _verify(empty_run).receipts.values()
    assert receipt.scored_in == {own: 2, "old": 4}
    assert (receipt.reuse.texts_scored, receipt.reuse.texts_reused) == (2, 4)
    texts = {ad.text for ad in receipt.profile.top_ood}
    assert len(texts) == 6
    assert None not in texts


def test_write_of_results_that_differ_stops_reuse_and_puts_nothing_else(
    empty_run, scored
):
    item, job = _reusing(empty_run, scored[0])
    counts = item.reuse.model_copy(update={"texts_checked": 2, "texts_mismatched": 1})
    result = write(replace(item, mismatch="label differ", reuse=counts), job)
    assert result.fault == "stale"
    stop = find_stop(empty_run.plan.run_uri)
    assert (stop.reused_uri, stop.reason) == ("before", "label differ")
    assert (stop.texts_checked, stop.texts_mismatched) == (2, 1)
    assert not empty_run.part(0).exists()
    assert read_receipts(empty_run.plan.run_uri, empty_run.plan.fingerprint) == {}


@pytest.mark.parametrize("with_receipt", [True, False])
def test_write_after_the_stop_replaces_a_part_that_took_results_over(
    empty_run, scored, with_receipt
):
    early, _ = scored
    item, job = _reusing(empty_run, early)
    assert not write(item, job).failure
    if not with_receipt:
        next((empty_run.folder / "_run" / "receipts").iterdir()).unlink()
    stop_reuse(empty_run.plan.run_uri, STOP)
    assert write(item, job).fault == "stale"  # a late worker
    assert not write(early, job).failure
    part = pq.read_table(empty_run.part(0))
    assert set(part["scored_in"].to_pylist()) == {empty_run.plan.run_id}
    before = _files(empty_run)
    assert write(item, job).fault == "stale"
    assert _files(empty_run) == before
    _verify(empty_run)


def test_write_of_a_late_worker_that_asked_before_the_stop_brings_nothing_back(
    empty_run, scored, monkeypatch
):
    """It was told that reuse goes on; when it wakes up, the shard was scored as a whole."""
    early, _ = scored
    item, job = _reusing(empty_run, early)
    swap, slept = storage.swap_bytes, []

    def sleepy(uri, data, version):
        if "/_parts/" in uri and not slept:
            slept.append(uri)
            stop_reuse(empty_run.plan.run_uri, STOP)
            assert not write(early, job).failure
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", sleepy)
    write(item, job)
    assert len(slept) == 1
    (receipt,) = _verify(empty_run).receipts.values()
    assert receipt.scored_in == {empty_run.plan.run_id: 6}
    assert receipt.reuse.texts_reused == 0

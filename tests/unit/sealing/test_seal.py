"""One file from its parts, also when several starts seal it."""

import dataclasses
import hashlib
import io
import logging
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.errors import StorageUnavailableError
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.seals import find_seal
from rubert_ood.runs.verify import verify_run
from rubert_ood.sealing import seal as module
from rubert_ood.sealing.seal import SealJob, SealResult, seal_file
from tests.conftest import patch_storage


def _unsealed(run):
    for path in (*run.files, *(run.folder / "_run" / "seals").iterdir()):
        path.unlink()
    return run


def _job(run, token: str = "") -> SealJob:
    return SealJob(run.plan.without_shards(), token)


def _files(run) -> dict[str, bytes]:
    found = [*run.folder.glob("data-*"), *run.folder.glob("_run/seals/*")]
    return {path.name: path.read_bytes() for path in found}


def _first_otherwise():
    """Return a `to_file` that writes other bytes when it is called for the first time."""
    real, calls = module.to_file, []

    def to_file(parts, sort_by) -> bytes:
        calls.append(sort_by)
        data = real(parts, sort_by)
        if len(calls) > 1:
            return data
        sink = io.BytesIO()
        pq.write_table(pq.read_table(io.BytesIO(data)), sink, compression="snappy")
        assert sink.getvalue() != data
        return sink.getvalue()

    return to_file


def test_seal_file_has_the_rows_of_its_parts_one_after_the_other(full_run):
    for path, group in zip(full_run.files, full_run.groups(), strict=True):
        parts = [pq.read_table(full_run.part(place)) for place in group.places]
        found = pq.read_table(path)
        assert found.equals(pa.concat_tables(parts))
        assert found.schema.metadata == parts[0].schema.metadata


def test_seal_file_again_changes_no_object(run):
    before = _files(run)
    times = [path.stat().st_mtime_ns for path in run.files]
    for group in run.groups():
        assert seal_file(group, _job(run)) == SealResult(group.path)
    assert _files(run) == before
    assert [path.stat().st_mtime_ns for path in run.files] == times


def test_seal_file_after_a_crash_between_file_and_seal_keeps_the_file(run):
    (group, *_), (path, *_) = run.groups(), run.files
    before, time = _files(run), path.stat().st_mtime_ns
    (run.folder / "_run" / "seals" / f"{path.stem}.json").unlink()
    assert seal_file(group, _job(run)) == SealResult(group.path)
    assert _files(run) == before
    assert path.stat().st_mtime_ns == time


@pytest.mark.parametrize("with_seal", [True, False])
def test_seal_file_replaces_a_damaged_file(run, with_seal):
    (group, *_), (path, *_) = run.groups(), run.files
    before = _files(run)
    path.write_bytes(path.read_bytes()[:-9])
    if not with_seal:
        (run.folder / "_run" / "seals" / f"{path.stem}.json").unlink()
    assert seal_file(group, _job(run)) == SealResult(group.path)
    assert _files(run) == before


def test_seal_file_of_other_parts_replaces_file_and_seal(run):
    """A part was scored again on another processor, before publication."""
    path, table = run.part(1), pq.read_table(run.part(1))
    pq.write_table(table, path, compression="snappy")
    data = path.read_bytes()
    sums = {"part_sha256": hashlib.sha256(data).hexdigest(), "part_bytes": len(data)}
    receipts = list(run.receipts)
    receipts[1] = receipts[1].model_copy(update=sums)
    other = dataclasses.replace(run, receipts=receipts)
    group = other.groups()[0]
    older = find_seal(run.plan, group.path)
    assert seal_file(group, _job(run)) == SealResult(group.path)
    seal = find_seal(run.plan, group.path)
    assert seal.parts == group.parts != older.parts
    assert seal.sha256 == hashlib.sha256(run.files[0].read_bytes()).hexdigest()
    assert pq.read_table(run.files[0]).num_rows == group.num_rows


@pytest.mark.parametrize("bad", [[0], [4], [1, 3], [0, 1, 2, 3, 4]])
def test_seal_file_names_every_bad_part_and_puts_nothing(run, bad):
    run = _unsealed(run)
    group = run.groups()[0]
    for place in bad:
        run.part(place).write_bytes(run.part(place).read_bytes()[:-9])
    result = seal_file(group, _job(run))
    assert list(result.bad_parts) == [run.plan.shards[place].shard_id for place in bad]
    assert result.failure == ""
    for place in bad:
        line = result.bad_parts[run.plan.shards[place].shard_id]
        assert line.startswith(f"{run.part(place)}: the file cannot be read as Parquet")
    assert _files(run) == {}


def test_seal_file_whose_storage_does_not_answer_says_so_as_data(run, monkeypatch):
    def silent(*_: object) -> bool:
        raise StorageUnavailableError("s3://b/x: storage does not answer")

    patch_storage(monkeypatch, "create_bytes", silent)
    result = seal_file(run.groups()[0], _job(run))
    assert (result.failure, result.bad_parts) == ("s3://b/x: storage does not answer", {})


def test_seal_file_that_meets_something_unknown_names_it_as_data(run, monkeypatch):
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(module, "to_file", broken)
    assert seal_file(run.groups()[0], _job(run)).failure == "ZeroDivisionError: by zero"


def test_seal_file_of_a_start_whose_claim_has_ended_puts_nothing(run):
    run = _unsealed(run)
    older = Claim(run.plan.run_uri)
    newer = Claim(run.plan.run_uri)
    result = seal_file(run.groups()[0], _job(run, older.token))
    assert "has claimed this run" in result.failure
    assert _files(run) == {}
    assert seal_file(run.groups()[0], _job(run, newer.token)).failure == ""


@pytest.mark.parametrize("sleeps_before", ["data-", "_run/seals/"])
@pytest.mark.parametrize("same_bytes", [True, False])
def test_seal_file_of_a_task_that_sleeps_before_a_put_changes_nothing_published(
    run, monkeypatch, sleeps_before, same_bytes
):
    """It has asked who holds the run, and was told that it does; when it wakes up, all is sealed
    by a newer start, be it that the library there writes other bytes."""
    run = _unsealed(run)
    older, swap, published = Claim(run.plan.run_uri), storage.swap_bytes, {}
    groups = run.groups()

    def sleepy(uri, data, version):
        inner = uri[len(run.plan.run_uri) + 1 :]
        if not published and inner.startswith(sleeps_before):
            published["not yet"] = b""
            newer = Claim(run.plan.run_uri)
            for group in groups:
                assert seal_file(group, _job(run, newer.token)).failure == ""
            verify_run(run.plan)
            newer.release()
            published.update(_files(run))
            shutil.rmtree(run.part(0).parent)
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", sleepy)
    if not same_bytes:
        monkeypatch.setattr(module, "to_file", _first_otherwise())
    result = seal_file(groups[0], _job(run, older.token))
    published.pop("not yet")
    assert len(published) == 6
    assert _files(run) == published
    assert "has claimed this run" in result.failure or not result.failure
    verify_run(run.plan)


def test_seal_file_of_two_starts_at_once_seals_what_is_there(run, monkeypatch):
    """The older start's file comes first, its seal last; the newer one seals in between."""
    run = _unsealed(run)
    older, swap, newer = Claim(run.plan.run_uri), storage.swap_bytes, []
    group = run.groups()[0]

    def interleaved(uri, data, version):
        if "/seals/" in uri and not newer:
            newer.append(Claim(run.plan.run_uri))
            assert seal_file(group, _job(run, newer[0].token)).failure == ""
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", interleaved)
    seal_file(group, _job(run, older.token))
    for other in run.groups()[1:]:
        assert seal_file(other, _job(run, newer[0].token)).failure == ""
    verify_run(run.plan)


def test_seal_file_says_of_a_library_s_error_no_more_than_a_log_may_hold(
    run, monkeypatch, caplog
):
    def fail(*_: object) -> bytes:
        raise ValueError(f"cannot cast 89123456789 {'слово ' * 100}")

    monkeypatch.setattr(module, "to_file", fail)
    run = _unsealed(run)
    failure = seal_file(run.groups()[0], _job(run)).failure
    assert failure.startswith("ValueError: cannot cast ###########")
    assert len(failure) <= 250
    shown = logging.Formatter().format(caplog.records[-1])
    assert "test_seal.py:" in shown
    assert "89123456789" not in shown

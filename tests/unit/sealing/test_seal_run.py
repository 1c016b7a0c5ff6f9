"""The files of a run that have no seal yet, in this process; on Ray: tests/ray/sealing."""

import logging

import pytest

from rubert_ood.errors import PartialRunError
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.verify import PartMismatchError, verify_run
from rubert_ood.sealing import layout, seal_run
from rubert_ood.settings import ScoreSettings

SETTINGS = ScoreSettings(
    input_uri="/in", bundle_uri="/b", output_uri="/out", executor="local"
)


@pytest.fixture
def unsealed(run, monkeypatch):
    for path in (*run.files, *(run.folder / "_run" / "seals").iterdir()):
        path.unlink()
    (run.folder / "_run" / "layout.json").unlink()
    monkeypatch.setattr(layout, "cut_files", lambda plan, receipts: [0, 4, 8])
    return run


def _seal(run, again: tuple[str, ...] = ()) -> None:
    claim = Claim(run.plan.run_uri)
    seal_run.seal_run(run.plan, run.by_id, SETTINGS, claim, again)


def test_seal_run_seals_all_files_and_says_how_many(unsealed, caplog):
    caplog.set_level(logging.INFO)
    _seal(unsealed)
    assert "seals 12 parts into 3 files" in caplog.text
    verified = verify_run(unsealed.plan)
    assert [file.path for file in verified.files] == [p.name for p in unsealed.files]


def test_seal_run_of_a_sealed_run_does_nothing(run, caplog):
    caplog.set_level(logging.INFO)
    times = [path.stat().st_mtime_ns for path in run.files]
    _seal(run)
    assert "seal" not in caplog.text
    assert [path.stat().st_mtime_ns for path in run.files] == times


def test_seal_run_seals_what_is_left_and_what_is_named(run, caplog):
    caplog.set_level(logging.INFO)
    first, second, third = run.files
    contents = [path.read_bytes() for path in run.files]
    (run.folder / "_run" / "seals" / f"{second.stem}.json").unlink()
    third.unlink()
    _seal(run, (third.name,))
    assert "seals 7 parts into 2 files" in caplog.text
    assert [path.read_bytes() for path in (first, second, third)] == contents
    verify_run(run.plan)


def test_seal_run_names_all_bad_parts_and_seals_the_other_files(unsealed):
    unsealed.part(1).unlink()
    unsealed.part(9).unlink()
    with pytest.raises(
        PartMismatchError, match=r"no such file.* \(2 problems in all\)"
    ) as error:
        _seal(unsealed)
    shards = unsealed.plan.shards
    assert error.value.shard_ids == [shards[1].shard_id, shards[9].shard_id]
    assert [path.name for path in unsealed.files] == ["data-00001-of-00003.parquet"]


def test_seal_run_of_a_run_with_a_shard_that_is_not_scored_is_partial(unsealed):
    receipts = {receipt.shard_id: receipt for receipt in unsealed.receipts[1:]}
    claim = Claim(unsealed.plan.run_uri)
    with pytest.raises(PartialRunError, match="1 of 12 shards are not scored"):
        seal_run.seal_run(unsealed.plan, receipts, SETTINGS, claim)
    assert not (unsealed.folder / "_run" / "layout.json").exists()


def test_seal_run_of_a_start_that_was_taken_over_stops_and_says_so(unsealed, monkeypatch):
    claim, real = Claim(unsealed.plan.run_uri), seal_run.seal_file

    def overtaken(group, job):
        Claim(unsealed.plan.run_uri)
        return real(group, job)

    monkeypatch.setattr(seal_run, "seal_file", overtaken)
    with pytest.raises(PartialRunError) as error:
        seal_run.seal_run(unsealed.plan, unsealed.by_id, SETTINGS, claim)
    assert "has claimed this run" in str(error.value)
    assert "the run stopped" not in str(error.value)
    assert unsealed.files == []


def test_seal_run_whose_file_fails_stops_resumable(unsealed, monkeypatch):
    real = seal_run.seal_file

    def fails_at_the_second(group, job):
        if group.start:
            return seal_run.SealResult(group.path, "s3://b: storage does not answer")
        return real(group, job)

    with monkeypatch.context() as patch:
        patch.setattr(seal_run, "seal_file", fails_at_the_second)
        with pytest.raises(
            PartialRunError,
            match=r"The same command resumes it. Reason: s3://b: storage",
        ):
            _seal(unsealed)
    (path,) = unsealed.files
    time = path.stat().st_mtime_ns
    _seal(unsealed)
    assert path.stat().st_mtime_ns == time
    verify_run(unsealed.plan)

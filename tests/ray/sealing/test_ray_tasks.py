"""One file is one task of a real cluster."""

import os
import signal

import pytest

from rubert_ood.errors import PartialRunError
from rubert_ood.runs.verify import verify_run
from rubert_ood.sealing import ray_tasks
from rubert_ood.sealing.ray_tasks import seal_on_cluster
from rubert_ood.sealing.seal import SealJob, SealResult

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture
def unsealed(run):
    """A run without files, and what they shall be to the byte."""
    contents = {path.name: path.read_bytes() for path in run.files}
    for path in (*run.files, *(run.folder / "_run" / "seals").iterdir()):
        path.unlink()
    return run, contents


def _seal(run, token: str = "", timeout_s: float = 60) -> list[SealResult]:
    job = SealJob(run.plan.without_shards(), token)
    results = seal_on_cluster(run.groups(), job, timeout_s)
    return sorted(results, key=lambda result: result.path)


def test_seal_on_cluster_seals_what_this_process_would(unsealed, monkeypatch):
    run, contents = unsealed
    monkeypatch.setattr(ray_tasks, "_most_at_once", lambda: 1)
    assert _seal(run) == [SealResult(path) for path in sorted(contents)]
    assert {path.name: path.read_bytes() for path in run.files} == contents
    verify_run(run.plan)


def test_seal_on_cluster_names_bad_parts_and_seals_the_other_files(unsealed):
    run, contents = unsealed
    run.part(6).unlink()
    first, second, third = _seal(run)
    assert (first.bad_parts, third.bad_parts) == ({}, {})
    assert list(second.bad_parts) == [run.plan.shards[6].shard_id]
    found = {path.name: path.read_bytes() for path in run.files}
    assert found == {path: contents[path] for path in (first.path, third.path)}


def test_seal_on_cluster_of_a_start_without_the_claim_says_so_in_its_words(unsealed):
    run, _ = unsealed
    results = _seal(run, token="of nobody")
    assert all("has claimed this run" in result.failure for result in results)
    assert run.files == []


def _dies(*_: object) -> SealResult:
    os.kill(os.getpid(), signal.SIGKILL)
    return SealResult("")


def test_seal_on_cluster_whose_workers_die_each_time_is_partial(unsealed, monkeypatch):
    run, _ = unsealed
    monkeypatch.setattr(ray_tasks, "seal_file", _dies)
    with pytest.raises(PartialRunError, match="Run the same command again to resume"):
        _seal(run)


def test_seal_on_cluster_where_no_task_ends_in_time_is_partial(unsealed):
    run, _ = unsealed
    with pytest.raises(PartialRunError, match=r"no file was sealed for 0 s"):
        _seal(run, timeout_s=0)

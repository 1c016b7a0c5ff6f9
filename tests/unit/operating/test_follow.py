import os
import subprocess
import sys

import pytest

from rubert_ood.errors import JobFailedError, PartialRunError
from rubert_ood.operating import follow
from rubert_ood.operating.follow import exit_code_of
from rubert_ood.operating.ray_jobs import ADDRESS_VARIABLE, JobState
from rubert_ood.settings import SubmitSettings
from rubert_ood.workflows.submit import submit
from tests.unit.operating.jobs_server import ended

DAY = "2026-11-27"


@pytest.mark.parametrize("exit_code", [1, 2, 3, 4, 5, 6])
def test_submit_ends_with_the_exit_code_of_the_job(ray_cluster, settings_of, exit_code):
    ray_cluster.endings = [ended("FAILED", exit_code)]
    with pytest.raises(JobFailedError) as caught:
        submit(settings_of())
    assert caught.value.exit_code == exit_code
    assert str(caught.value) == f"score-{DAY} exit code {exit_code}"


@pytest.mark.parametrize("exit_code", [None, 137, 143, -9])
def test_exit_code_of_a_job_that_was_ended_from_outside_is_that_of_a_partial_run(
    exit_code,
):
    assert exit_code_of(JobState("FAILED", exit_code, "")) == 6
    assert exit_code_of(JobState("STOPPED", None, "")) == 6


def test_submit_prints_each_line_of_the_job_once(ray_cluster, settings_of, capfd):
    ray_cluster.endings = [
        ended("SUCCEEDED", 0, "score     1/2 ads\nscore     2/2 ads\n")
    ]
    submit(settings_of())
    said = capfd.readouterr().err.splitlines()
    assert said == ["score     1/2 ads", "score     2/2 ads"]


def test_submit_prints_the_last_line_of_a_job_that_was_cut_off_in_it(
    ray_cluster, settings_of, capfd
):
    ray_cluster.endings = [ended("FAILED", 1, "score     1/2 ads\nerror: out of mem")]
    with pytest.raises(JobFailedError):
        submit(settings_of())
    said = capfd.readouterr().err.splitlines()
    assert said == ["score     1/2 ads", "error: out of mem"]


def test_submit_twice_runs_one_job(ray_cluster, settings_of, caplog):
    ray_cluster.endings = [ended("SUCCEEDED", 0)]
    submit(settings_of())
    with caplog.at_level("INFO"):
        submit(settings_of())
    assert len(ray_cluster.submitted) == 1
    assert f"score-{DAY} has succeeded already, nothing to do" in caplog.text


def test_submit_finds_a_running_job_and_waits_for_it(ray_cluster, settings_of):
    after = ended("FAILED", 5)
    after.pop("log")
    ray_cluster.jobs[f"score-{DAY}"] = {"status": "RUNNING", "log": "", "next": after}
    with pytest.raises(JobFailedError) as caught:
        submit(settings_of())
    assert caught.value.exit_code == 5
    assert not ray_cluster.submitted


def test_submit_after_a_failed_job_takes_the_next_id(ray_cluster, settings_of):
    ray_cluster.jobs[f"score-{DAY}"] = {"status": "FAILED", "driver_exit_code": 6}
    ray_cluster.endings = [ended("SUCCEEDED", 0)]
    submit(settings_of())
    assert ray_cluster.submitted[0]["submission_id"] == f"score-{DAY}-2"


def test_submit_after_nine_failed_jobs_says_so(ray_cluster, settings_of):
    for suffix in ("", *(f"-{attempt}" for attempt in range(2, 10))):
        ray_cluster.jobs[f"score-{DAY}{suffix}"] = {
            "status": "FAILED",
            "driver_exit_code": 6,
        }
    with pytest.raises(PartialRunError, match=r"^9 jobs of score-2026-11-27 have failed"):
        submit(settings_of())


def test_submit_asks_again_when_the_connection_breaks(ray_cluster, settings_of, caplog):
    ray_cluster.endings = [ended("FAILED", 4)]
    ray_cluster.breaks = 3
    with caplog.at_level("INFO"), pytest.raises(JobFailedError) as caught:
        submit(settings_of())
    assert caught.value.exit_code == 4
    assert len(ray_cluster.submitted) == 1
    assert "ended with exit code 4, after 1 break of the connection" in caplog.text


def test_submit_ends_by_an_interrupt_that_a_library_took_for_itself(
    ray_cluster, settings_of, monkeypatch
):
    def raise_received() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow.interrupts, "raise_received", raise_received)
    with pytest.raises(KeyboardInterrupt):
        submit(settings_of())
    assert not ray_cluster.submitted


def test_submit_gives_up_after_its_limit(ray_cluster, settings_of):
    ray_cluster.refusal = 503
    with pytest.raises(PartialRunError, match=r"has not answered for 0.05 s .*503"):
        submit(settings_of(max_silence_s=0.05))


def test_submit_with_a_wrong_address_names_it_after_its_limit(monkeypatch):
    monkeypatch.setenv(ADDRESS_VARIABLE, "http://127.0.0.1:1")
    settings = SubmitSettings(run_date=DAY, poll_s=0.01, max_silence_s=0.03)
    with pytest.raises(
        PartialRunError, match=r"^the cluster has not answered for 0.03 s"
    ):
        submit(settings)


def test_submit_stop_stops_the_newest_job(ray_cluster, settings_of):
    ray_cluster.jobs[f"score-{DAY}"] = {"status": "FAILED", "driver_exit_code": 6}
    ray_cluster.jobs[f"score-{DAY}-2"] = {"status": "PENDING"}
    submit(settings_of(stop=True))
    assert ray_cluster.jobs[f"score-{DAY}-2"]["status"] == "STOPPED"
    assert not ray_cluster.submitted


def test_submit_stop_without_a_running_job_says_so(ray_cluster, settings_of, caplog):
    with caplog.at_level("INFO"):
        submit(settings_of(stop=True))
    assert f"finds no running job of score-{DAY}" in caplog.text


WITHOUT_TORCH = """
import sys

for name in sys.argv.pop(1).split():
    sys.modules[name] = None
from rubert_ood.cli import main

sys.exit(main())
"""


LACKING = """
duckdb fsspec huggingface_hub jinja2 matplotlib numpy pandas pyarrow rich s3fs safetensors scipy
sklearn threadpoolctl tokenizers torch transformers
"""
"""What nightly.yml does not install."""


def test_submit_works_where_torch_is_not_installed(ray_cluster, settings_of):
    ray_cluster.endings = [ended("FAILED", 5)]
    words = ["submit", "--address", ray_cluster.url, "--working_dir", "none"]
    words += ["--poll_s", "0.1", "score", "--run_date", DAY]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, LACKING, *words],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 5, done.stderr
    assert f"error: score-{DAY} exit code 5" in done.stderr

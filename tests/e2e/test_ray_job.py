"""`ray job submit` on a cluster started by `ray start --head`, with token authentication as Ray has
it by default."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.conftest import read_parts

pytestmark = pytest.mark.timeout(1200)  # it may wait for the demo, then runs two jobs

ROOT = Path(__file__).parents[2]
TOKEN_FILE = "RAY_AUTH_TOKEN_PATH"
NOT_READY = ("Failed to connect to Ray", "No available agent to submit job")
RAY = str(Path(sys.executable).with_name("ray"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Yield the environment and the address for `ray job submit`."""
    folder = tmp_path_factory.mktemp("ray", numbered=True)
    (folder / "token").write_text("0123456789abcdef" * 4)
    port, dashboard = _free_port(), _free_port()
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        TOKEN_FILE: str(folder / "token"),
    }
    environment.pop("RAY_ADDRESS", None)
    start = [
        RAY,
        "start",
        "--head",
        f"--port={port}",
        "--num-cpus=2",
        "--node-ip-address=127.0.0.1",
    ]
    start += [
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={_free_port()}",  # another Ray may have the usual one
        "--disable-usage-stats",
    ]
    started = subprocess.run(
        [*start, f"--temp-dir={folder}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        yield environment, f"http://127.0.0.1:{dashboard}"
    finally:
        _end_cluster(environment)


def _submit_when_ready(environment: dict[str, str], address: str, config: Path):
    """Submit until the cluster takes it; `ray start` returns before it does."""
    deadline = time.monotonic() + 120
    while True:
        result = _submit(environment, address, config)
        answer = result.stdout + result.stderr
        is_early = any(words in answer for words in NOT_READY)
        if not is_early or time.monotonic() > deadline:
            return result
        time.sleep(1)


def _end_cluster(environment: dict[str, str]) -> None:
    """Kill what has the cluster's token file in its environment.

    `ray stop` would end the clusters of other tests as well.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(TOKEN_FILE) == environment[TOKEN_FILE]:
                process.kill()


def test_score_by_ray_job_submit(demo, cluster, tmp_path):
    environment, address = cluster
    config = tmp_path / "score.yaml"
    settings = {
        "input_uri": str(demo.folder / "ads" / "catalogue" / "part-00000.parquet"),
        "bundle_uri": str(demo.bundle),
        "output_uri": str(tmp_path / "scored"),
        "shard_rows": 4000,
    }
    config.write_text(json.dumps(settings))
    result = _submit_when_ready(environment, address, config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "10,000/10,000 ads" in result.stdout
    assert json.loads((tmp_path / "scored" / "latest.json").read_text())["run_id"]
    assert (
        read_parts(next((tmp_path / "scored").glob("run_date=*/run_id=*"))).num_rows
        == 10_000
    )
    config.write_text(json.dumps(settings | {"input_uri": str(tmp_path / "nothing")}))
    failed = _submit(environment, address, config)
    assert failed.returncode == 1
    assert f"error: {tmp_path / 'nothing'}: no such file" in failed.stdout


def _submit(
    environment: dict[str, str], address: str, config: Path
) -> subprocess.CompletedProcess[str]:
    """Submit the scoring job; a cluster that has just started may have no agent for a while."""
    command = [RAY, "job", "submit", "--address", address, "--working-dir", str(ROOT)]
    command += ["--", sys.executable, "jobs/score.py", "--config", str(config)]
    deadline = time.monotonic() + 180
    while True:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=400
        )
        if "No available agent" not in result.stderr or time.monotonic() > deadline:
            return result
        time.sleep(2)


SUBMIT = ROOT / "deploy" / "github" / "submit.sh"
ENDS_AS_TOLD = """
import sys
from pathlib import Path

sys.exit(int(Path(sys.argv[1]).read_text()))
"""
SLEEPS_LIKE_A_JOB = """
import sys
import time
from pathlib import Path

from rubert_ood.interrupts import Terminated, install, watched

folder = Path(sys.argv[1])


def job():
    install()
    try:
        (folder / "ready").touch()
        time.sleep(120)
    except Terminated:
        time.sleep(1)
        (folder / "noted").touch()
        return 143
    return 0


sys.exit(watched(job, print))
"""


def test_submit_script_of_the_nightly_workflow(cluster, tmp_path):
    environment, address = cluster
    (tmp_path / "job.py").write_text(ENDS_AS_TOLD)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = environment | {
        "PATH": path,
        "RAY_API_SERVER_ADDRESS": address,
        "POLL_S": "1",
    }
    environment["SUBMIT"] = f"{sys.executable} job.py {tmp_path / 'code'}"

    def night(code: int) -> tuple[int, str]:
        (tmp_path / "code").write_text(str(code))
        done = subprocess.run(
            [SUBMIT, "2026-11-27", tmp_path / "summary"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        return done.returncode, done.stdout

    code, said = night(5)
    assert code == 5, said
    assert "submitting score-2026-11-27-1" in said
    code, said = night(0)  # the day's second start, after a failed one
    assert code == 0, said
    assert "submitting score-2026-11-27-2" in said
    code, said = night(5)  # and after one that succeeded
    assert code == 0, said
    assert "submitting" not in said
    summary = (tmp_path / "summary").read_text().splitlines()
    assert summary[0] == "score-2026-11-27-1 ended with exit code 5"
    assert summary[-1] == "score-2026-11-27-2 succeeded"


def test_hook_of_the_head_pod_ends_a_job_resumable(cluster, tmp_path):
    environment, address = cluster
    (tmp_path / "jobs").mkdir()
    script = tmp_path / "jobs" / "score.py"
    script.write_text(SLEEPS_LIKE_A_JOB)
    rayjob = yaml.safe_load((ROOT / "deploy/kuberay/base/rayjob.yaml").read_text())
    head = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    hook = head["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    here = [word.replace("/app/jobs/", f"{tmp_path}/jobs/") for word in hook]
    submit = [RAY, "job", "submit", "--address", address, "--no-wait"]
    submit += [
        "--submission-id",
        "night",
        "--",
        sys.executable,
        str(script),
        str(tmp_path),
    ]
    deadline = time.monotonic() + 120
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        subprocess.run(submit, env=environment, stdout=subprocess.DEVNULL, timeout=100)
        time.sleep(2)
    assert (tmp_path / "ready").exists()
    assert subprocess.run(here, timeout=60).returncode == 0
    assert (tmp_path / "noted").exists()  # the hook waited for it
    status = [RAY, "job", "status", "--address", address, "night"]
    while time.monotonic() < deadline:
        done = subprocess.run(status, env=environment, capture_output=True, text=True)
        if "failed with exit code 143" in done.stdout:
            return
        time.sleep(1)
    pytest.fail(done.stdout + done.stderr)

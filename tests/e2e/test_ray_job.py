"""`ray job submit` on a cluster started by `ray start --head`, with token authentication as Ray has
it by default."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
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
def cluster():
    """Yield the environment and the address for `ray job submit`."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # sockets have short names
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
        shutil.rmtree(folder, ignore_errors=True)


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
    catalogue = demo.folder / "ads" / "catalogue" / "part-00000.parquet"
    ads = pq.read_table(catalogue).slice(0, 2_000)
    pq.write_table(ads, tmp_path / "ads.parquet", row_group_size=1_000)
    settings = {
        "input_uri": str(tmp_path / "ads.parquet"),
        "bundle_uri": str(demo.bundle),
        "output_uri": str(tmp_path / "scored"),
        "shard_rows": 1_000,
    }
    config.write_text(json.dumps(settings))
    result = _submit_when_ready(environment, address, config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2,000/2,000 ads" in result.stdout
    assert json.loads((tmp_path / "scored" / "latest.json").read_text())["run_id"]
    assert (
        read_parts(next((tmp_path / "scored").glob("run_date=*/run_id=*"))).num_rows
        == 2_000
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


ENDS_AS_TOLD = """
import sys
import time
from pathlib import Path

print("score     1/2 ads", flush=True)
while not Path("CODE").exists():
    time.sleep(0.2)
sys.exit(int(Path("CODE").read_text()))
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


def _read_until(process: subprocess.Popen[str], words: str) -> None:
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f"ended without a word of {words}")


def test_submit_waits_for_the_job_of_the_day_and_ends_with_its_exit_code(
    cluster, tmp_path
):
    environment, address = cluster
    (tmp_path / "jobs").mkdir()
    code = tmp_path / "code"
    script = ENDS_AS_TOLD.replace("CODE", str(code))
    (tmp_path / "jobs" / "score.py").write_text(script)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = environment | {"PATH": path}
    words = [sys.executable, "-m", "rubert_ood.cli", "submit", "--address", address]
    words += ["--poll_s", "0.5", "score", "--run_date", "2026-11-27"]

    def start(*more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*words, *more],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = start()
    _read_until(first, "1/2 ads")
    first.send_signal(signal.SIGINT)  # the waiting ends, the job goes on
    assert first.wait(timeout=60) == 130
    assert "The job goes on" in first.stderr.read()
    second = start()
    _read_until(second, "finds score-2026-11-27")
    code.write_text("5")
    _, said = second.communicate(timeout=120)
    assert second.returncode == 5, said
    assert "submits" not in said
    code.write_text("0")
    third = start()  # after a failed one
    _, said = third.communicate(timeout=120)
    assert third.returncode == 0, said
    assert "submits score-2026-11-27-2" in said
    fourth = start()  # and after one that succeeded
    _, said = fourth.communicate(timeout=120)
    assert fourth.returncode == 0, said
    assert "nothing to do" in said
    wrong = environment | {TOKEN_FILE: str(tmp_path / "other")}
    (tmp_path / "other").write_text("f" * 64)
    refused = subprocess.run(
        words, cwd=tmp_path, env=wrong, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2, refused.stderr
    assert "refuses the token" in refused.stderr
    assert "f" * 64 not in refused.stderr


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

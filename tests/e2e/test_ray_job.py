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


@pytest.fixture
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

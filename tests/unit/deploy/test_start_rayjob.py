"""The start of a night, against an HTTP server that answers as the API server does."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.unit.deploy.composed import KUBERAY, composed, faults, one

SCRIPT = KUBERAY / "base" / "start_rayjob.py"
MINUTE = 29_400_420
"""2025-11-24 23:00 UTC: in Moscow the next day."""
NAME = "rubert-ood-score-2025-11-25"
REFUSED = "Job entrypoint command failed with exit code 5, last available logs"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("start_rayjob", SCRIPT)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


class Cluster(ThreadingHTTPServer):
    """RayJobs in memory. A RayJob has the statuses of `script`, one at each look; an empty one is a
    connection that breaks, a number an error."""

    daemon_threads = True

    def __init__(self, statuses: list[Any]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.objects = {"rubert-ood-score": one(composed("cpu"), "RayJob")}
        self.statuses = statuses
        self.created: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    server: Cluster

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        found = self.server.objects.get(name)
        if found is None:
            return self.say(404, {"message": f"{name} not found"})
        if name == "rubert-ood-score":
            return self.say(200, found)
        left = self.server.statuses
        status = left.pop(0) if len(left) > 1 else left[0]
        if status is None:
            self.close_connection = True
            return None
        if isinstance(status, int):
            return self.say(status, {"message": "later"})
        return self.say(200, found | {"status": status})

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = sent["metadata"]["name"]
        if name in self.server.objects:
            return self.say(409, {"message": "exists"})
        self.server.objects[name] = sent
        self.server.created.append(sent)
        return self.say(201, sent)

    def say(self, code: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def night(
    cluster: Cluster,
    job: str = f"rubert-ood-nightly-{MINUTE}",
    pattern: str = "rubert-ood-score",
) -> subprocess.CompletedProcess[str]:
    """Run the script as its container does."""
    env = os.environ | {
        "API_SERVER": f"http://127.0.0.1:{cluster.server_port}",
        "POLL_S": "0.05",
        "NAMESPACE": "rubert-ood",
        "TIME_ZONE": "Europe/Moscow",
        "JOB_NAME": job,
        "JOB_UID": "1f0e-uid",
    }
    command = [sys.executable, str(SCRIPT), pattern]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}


def test_start_creates_the_rayjob_of_the_night_and_waits():
    cluster = Cluster([{}, {"jobDeploymentStatus": "Initializing"}, RUNNING, SUCCEEDED])
    done = night(cluster)
    assert (done.returncode, done.stderr) == (0, "")
    (created,) = cluster.created
    assert created["metadata"]["name"] == NAME
    pattern = cluster.objects["rubert-ood-score"]["spec"]
    changed = {
        name
        for name in pattern | created["spec"]
        if pattern.get(name) != created["spec"][name]
    }
    assert changed == {"suspend", "jobId", "entrypoint"}
    assert created["spec"]["suspend"] is False
    assert created["spec"]["jobId"] == NAME
    assert created["spec"]["entrypoint"].endswith(" --run_date 2025-11-25")
    assert created["metadata"]["ownerReferences"][0]["uid"] == "1f0e-uid"
    assert faults(created) == []
    assert done.stdout.count("Running RUNNING") == 1


def test_start_of_a_night_that_was_started_waits_for_it():
    cluster = Cluster([SUCCEEDED])
    assert night(cluster).returncode == 0
    second = night(cluster)
    assert second.returncode == 0
    assert "is there already" in second.stdout
    assert len(cluster.created) == 1


@pytest.mark.parametrize("broken", [None, 503, 429])
def test_start_goes_on_after_a_break_of_the_connection(broken):
    cluster = Cluster([RUNNING, broken, broken, SUCCEEDED])
    assert night(cluster).returncode == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": REFUSED}, 5),
        (
            {
                "jobDeploymentStatus": "Failed",
                "reason": "DeadlineExceeded",
                "message": "late",
            },
            6,
        ),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, 6),
    ],
)
def test_start_ends_with_the_exit_code_of_the_command(status, code):
    done = night(Cluster([RUNNING, status]))
    assert done.returncode == code
    assert status.get("message", "") in done.stdout


def test_start_without_a_pattern_says_so():
    done = night(Cluster([SUCCEEDED]), pattern="rubert-ood-scores")
    assert done.returncode == 2
    assert "rubert-ood-scores not found" in done.stdout


def test_run_date_of_a_job_that_was_made_by_hand_is_today():
    run_date = script().run_date
    assert run_date(f"rubert-ood-nightly-{MINUTE}", "UTC") == "2025-11-24"
    assert run_date(f"rubert-ood-nightly-{MINUTE}", "Europe/Moscow") == "2025-11-25"
    assert run_date("score-now", "UTC") >= "2026-11-27"

"""The start of a night, against an HTTP server that answers as the API server does."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.unit.deploy.composed import KUBERAY, composed, faults, one

SCRIPT = KUBERAY / "base" / "start_rayjob.py"
NIGHT = datetime.now(UTC).replace(hour=23, minute=0, second=0) - timedelta(days=1)
"""Yesterday at 23:00 UTC: in Moscow the next day."""
MINUTE = int(NIGHT.timestamp()) // 60
YESTERDAY = NIGHT.date().isoformat()
TODAY = (NIGHT.date() + timedelta(days=1)).isoformat()
NAME = f"rubert-ood-score-{TODAY}"
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
    uid: str = "1f0e-uid",
) -> subprocess.CompletedProcess[str]:
    """Run the script as its container does."""
    env = os.environ | {
        "API_SERVER": f"http://127.0.0.1:{cluster.server_port}",
        "POLL_S": "0.05",
        "NAMESPACE": "rubert-ood",
        "TIME_ZONE": "Europe/Moscow",
        "JOB_NAME": job,
        "JOB_UID": uid,
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
    assert created["spec"]["entrypoint"].endswith(f" --run_date {TODAY}")
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


FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": REFUSED}


def test_start_after_a_night_that_failed_makes_the_next_attempt():
    cluster = Cluster([FAILED])
    assert night(cluster).returncode == 5
    assert night(cluster).returncode == 5  # its own pod, which came back
    assert len(cluster.created) == 1
    cluster.statuses = [FAILED, RUNNING, SUCCEEDED]
    by_hand = night(cluster, job=f"score-{MINUTE}", uid="another")
    assert (by_hand.returncode, by_hand.stderr) == (0, "")
    assert [one["metadata"]["name"] for one in cluster.created] == [NAME, f"{NAME}-2"]
    assert cluster.created[1]["spec"]["jobId"] == f"{NAME}-2"
    assert cluster.created[1]["spec"]["entrypoint"].endswith(f" --run_date {TODAY}")
    assert faults(cluster.created[1]) == []


def test_start_after_a_night_that_succeeded_has_nothing_to_do():
    cluster = Cluster([SUCCEEDED])
    assert night(cluster).returncode == 0
    assert night(cluster, job=f"score-{MINUTE}", uid="another").returncode == 0
    assert len(cluster.created) == 1


def test_start_of_the_tenth_attempt_of_a_day_ends_with_the_failure_of_the_last():
    cluster = Cluster([FAILED])
    for number in range(9):
        assert night(cluster, uid=f"uid-{number}").returncode == 5
    tenth = night(cluster, uid="uid-10")
    assert tenth.returncode == 5
    assert "9 RayJobs" in tenth.stdout
    assert len(cluster.created) == 9


@pytest.mark.parametrize("broken", [None, 503, 429])
def test_start_goes_on_after_a_break_of_the_connection(broken):
    cluster = Cluster([RUNNING, broken, broken, SUCCEEDED])
    assert night(cluster).returncode == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (FAILED, 5),
        (FAILED | {"message": REFUSED.replace("code 5", "code 137")}, 6),
        (FAILED | {"message": REFUSED.replace("code 5", "code -9")}, 6),
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
    assert run_date(f"rubert-ood-nightly-{MINUTE}", "UTC") == YESTERDAY
    assert run_date(f"rubert-ood-nightly-{MINUTE}", "Europe/Moscow") == TODAY
    for name in ("score-now", "score-2", "score-20261127", "score"):
        assert run_date(name, "UTC") == datetime.now(UTC).date().isoformat()

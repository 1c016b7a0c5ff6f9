"""Starts the RayJob of one night and waits for its end: nightly.yaml runs it, with Python alone.

A RayJob that is there, suspended, is the pattern: its copy has the date in its name, in its Ray
job's id and in its command, so that a second start of the same night finds it and waits for it.
Ends with the exit code of the command, as far as Ray wrote it down, else with 6.
"""

import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POLL_S = float(os.environ.get("POLL_S", "15"))
WRONG, RESUMABLE = 2, 6
"""Exit codes, with the meaning that they have in the README."""


class ApiServer:
    """The RayJobs of a namespace."""

    def __init__(self, namespace: str) -> None:
        server = os.environ.get("API_SERVER", "https://kubernetes.default.svc")
        self.url = f"{server}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
        authority = ACCOUNT / "ca.crt"
        self.tls = ssl.create_default_context(
            cafile=str(authority) if authority.exists() else None
        )

    def get(self, name: str) -> dict[str, Any]:
        """Read one; HTTPError with code 404 where there is none."""
        return self._ask("GET", f"{self.url}/{name}")

    def create(self, rayjob: dict[str, Any]) -> dict[str, Any]:
        """Create one; HTTPError with code 409 where there is one of that name."""
        return self._ask("POST", self.url, json.dumps(rayjob).encode())

    def _ask(self, method: str, url: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        token = ACCOUNT / "token"  # read anew each time: Kubernetes renews it
        if token.exists():
            headers["Authorization"] = f"Bearer {token.read_text()}"
        request = urllib.request.Request(url, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=30, context=self.tls) as answer:
            return json.load(answer)


def run_date(job_name: str, zone: str) -> str:
    """Return the day of a night.

    A CronJob's job is named after the minute that it was due, so every attempt has the same day;
    one that was made by hand has today.
    """
    minute = job_name.rpartition("-")[2]
    if minute.isdigit():
        return datetime.fromtimestamp(int(minute) * 60, ZoneInfo(zone)).date().isoformat()
    return datetime.now(ZoneInfo(zone)).date().isoformat()


def rayjob_of(pattern: dict[str, Any], day: str, owner: dict[str, str]) -> dict[str, Any]:
    """Return the RayJob of a day. It goes when the job that made it goes."""
    name = pattern["metadata"]["name"]
    spec = pattern["spec"] | {
        "suspend": False,
        "jobId": f"{name}-{day}",
        "entrypoint": f"{pattern['spec']['entrypoint']} --run_date {day}",
    }
    return {
        "apiVersion": pattern["apiVersion"],
        "kind": pattern["kind"],
        "metadata": {
            "name": f"{name}-{day}",
            "namespace": pattern["metadata"]["namespace"],
            "labels": pattern["metadata"].get("labels", {}),
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def started(server: ApiServer, rayjob: dict[str, Any]) -> None:
    """Create the RayJob, or find that an earlier attempt did."""
    name = rayjob["metadata"]["name"]
    try:
        server.create(rayjob)
        print(f"{name}: created, {rayjob['spec']['entrypoint']}")
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
        print(f"{name}: is there already, waiting for it")


def waited(server: ApiServer, name: str) -> int:
    """Say each change of the RayJob's status until its end; return the exit code.

    An API server that does not answer is asked again: the deadline of the job is the limit.
    """
    said = ""
    while True:
        try:
            status = server.get(name).get("status", {})
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise
            status = {}
        except OSError:
            status = {}
        phase = status.get("jobDeploymentStatus", "")
        line = f"{name}: {phase} {status.get('jobStatus', '')}".rstrip()
        if phase and line != said:
            print(line)
            said = line
        if phase == "Complete" and status.get("jobStatus") == "SUCCEEDED":
            return 0
        if phase in ("Complete", "Failed"):
            reason = status.get("reason", "")
            print(f"{name}: {reason} {status.get('message', '')}"[:2000])
            return exit_code(status.get("message", ""))
        time.sleep(POLL_S)


def exit_code(message: str) -> int:
    """Return the exit code that Ray's message of a failed command has; 6 where it has none."""
    found = re.search(r"failed with exit code (\d+)", message)
    return int(found[1]) if found else RESUMABLE


def main() -> int:
    """Start and wait; the name of the pattern is the argument."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    server = ApiServer(os.environ["NAMESPACE"])
    job = os.environ["JOB_NAME"]
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job,
        "uid": os.environ["JOB_UID"],
    }
    try:
        pattern = server.get(sys.argv[1])
        rayjob = rayjob_of(pattern, run_date(job, os.environ["TIME_ZONE"]), owner)
        started(server, rayjob)
        return waited(server, rayjob["metadata"]["name"])
    except urllib.error.HTTPError as error:
        print(f"the API server refuses {error.url}: {error.code} {error.read().decode()}")
        return WRONG


if __name__ == "__main__":
    sys.exit(main())

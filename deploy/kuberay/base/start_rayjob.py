"""Starts the RayJob of one night and waits for its end: nightly.yaml runs it, with Python alone.

A RayJob that is there, suspended, is the pattern: its copy has the date in its name, in its Ray
job's id and in its command, so that a second start of the same night finds it and waits for it. If
that one has failed, the second start makes another, -2 to -9, which does what is not done.
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
MAX_ATTEMPTS = 9
FAR_S = 7 * 24 * 3600
"""A job that is named after a minute farther away from now was named by a person."""


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
    now = datetime.now(ZoneInfo(zone))
    minute = job_name.rpartition("-")[2]
    if minute.isdigit() and abs(int(minute) * 60 - now.timestamp()) < FAR_S:
        return datetime.fromtimestamp(int(minute) * 60, now.tzinfo).date().isoformat()
    return now.date().isoformat()


def rayjob_of(
    pattern: dict[str, Any], day: str, owner: dict[str, str], attempt: int = 1
) -> dict[str, Any]:
    """Return the RayJob of a day. It goes when the job that made it goes."""
    name = f"{pattern['metadata']['name']}-{day}"
    if attempt > 1:
        name = f"{name}-{attempt}"
    spec = pattern["spec"] | {
        "suspend": False,
        "jobId": name,
        "entrypoint": f"{pattern['spec']['entrypoint']} --run_date {day}",
    }
    return {
        "apiVersion": pattern["apiVersion"],
        "kind": pattern["kind"],
        "metadata": {
            "name": name,
            "namespace": pattern["metadata"]["namespace"],
            "labels": pattern["metadata"].get("labels", {}),
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def started(
    server: ApiServer, pattern: dict[str, Any], day: str, owner: dict[str, str]
) -> str:
    """Create the RayJob of a day, or find the one to wait for; return its name.

    That is the first that did not fail before this start. A RayJob that this start made itself is
    the one in whatever way it ended, so a pod that comes back reports it.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        rayjob = rayjob_of(pattern, day, owner, attempt)
        name = rayjob["metadata"]["name"]
        try:
            server.create(rayjob)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
        else:
            print(f"{name}: created, {rayjob['spec']['entrypoint']}")
            return name
        if not failed_before(server.get(name), owner):
            print(f"{name}: is there already, waiting for it")
            return name
        print(f"{name}: failed before, so the next attempt goes on with its run")
    print(f"{MAX_ATTEMPTS} RayJobs of {day} have failed. Read the log of the last one")
    return name


def failed_before(rayjob: dict[str, Any], owner: dict[str, str]) -> bool:
    """Say whether the RayJob of another start has ended, and not well."""
    owners = rayjob["metadata"].get("ownerReferences", [])
    is_ours = any(one["uid"] == owner["uid"] for one in owners)
    status = rayjob.get("status", {})
    return not is_ours and is_over(status) and not is_good(status)


def is_over(status: dict[str, Any]) -> bool:
    """Say whether a RayJob has ended, in whatever way."""
    return status.get("jobDeploymentStatus") in ("Complete", "Failed")


def is_good(status: dict[str, Any]) -> bool:
    """Say whether a RayJob has ended well."""
    is_complete = status.get("jobDeploymentStatus") == "Complete"
    return is_complete and status.get("jobStatus") == "SUCCEEDED"


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
        if is_good(status):
            return 0
        if is_over(status):
            reason = status.get("reason", "")
            print(f"{name}: {reason} {status.get('message', '')}"[:2000])
            return exit_code(status.get("message", ""))
        time.sleep(POLL_S)


def exit_code(message: str) -> int:
    """Return the exit code that Ray's message of a failed command has; 6 where it has none, or that
    of a command that was ended from outside."""
    found = re.search(r"failed with exit code ([1-6])\b", message)
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
        day = run_date(job, os.environ["TIME_ZONE"])
        return waited(server, started(server, pattern, day, owner))
    except urllib.error.HTTPError as error:
        print(f"the API server refuses {error.url}: {error.code} {error.read().decode()}")
        return WRONG


if __name__ == "__main__":
    sys.exit(main())

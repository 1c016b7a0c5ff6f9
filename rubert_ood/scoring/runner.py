"""Who works on a run: the newest start holds it, an older one that still lives stops and says so.

Two runners do little harm (each writes the same rows), but the older one wastes its machines and must not publish, nor
write into what the newer one has published by now: its workers ask before each part (`check_holder`). A start never
waits for a lease to end: the runner before it may be dead, and mostly is.
"""

import json
import logging
import os
import socket
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from rubert_ood import storage
from rubert_ood.errors import InputError, PartialRunError

log = logging.getLogger(__name__)

RUNNER_FILE = "runner.json"
CHECK_INTERVAL_S = 5.0


class Runner:
    """This process as the holder of a run."""

    def __init__(self, run_uri: str) -> None:
        self._run_uri = run_uri
        self.token = uuid.uuid4().hex
        self._me = {
            "runner": self.token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._checked = time.monotonic()
        older = _holder(run_uri)
        if older:
            log.warning("run       taken over from %s, which had not finished", _name(older))
        self._put(self._me)

    def check(self, *, now: bool = False) -> None:
        """Raise PartialRunError when another start has taken the run over; looks at most every 5 s unless `now`."""
        if not now and time.monotonic() - self._checked < CHECK_INTERVAL_S:
            return
        self._checked = time.monotonic()
        check_holder(self._run_uri, self.token)

    def holds(self) -> bool:
        return _holder(self._run_uri).get("runner") == self.token

    def release(self) -> None:
        """Say that nobody works on the run any more, unless somebody else does by now."""
        if self.holds():
            self._put({})

    def _put(self, holder: dict[str, Any]) -> None:
        storage.put_bytes(_uri(self._run_uri), json.dumps(holder, indent=1).encode())


def check_holder(run_uri: str, token: str) -> None:
    """Raise PartialRunError when the run is not held by the start with this token."""
    holder = _holder(run_uri)
    if holder.get("runner") != token:
        raise PartialRunError(
            f"{_uri(run_uri)}: this run was taken over by {_name(holder)}; this start ends, nothing is lost or doubled"
        )


def _holder(run_uri: str) -> dict[str, Any]:
    try:
        return storage.read_json(_uri(run_uri))
    except InputError:
        return {}  # nobody yet


def _uri(run_uri: str) -> str:
    return storage.join(run_uri, "_run", RUNNER_FILE)


def _name(holder: dict[str, Any]) -> str:
    if not holder:
        return "another start, which has ended"
    return f"process {holder['pid']} on {holder['host']} (started {holder['started_at']})"

"""Who works on a run: the newest start holds it, an older one that still lives stops and says so.

Two runners do no harm (each writes the same objects), but the older one wastes its machines and must not publish.
A start never waits for a lease to end: the runner before it may be dead, and mostly is.
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
        self._uri = storage.join(run_uri, "_run", RUNNER_FILE)
        self._me = {
            "runner": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._checked = time.monotonic()
        older = self._holder()
        if older:
            log.warning("run       taken over from %s, which had not finished", _name(older))
        self._put(self._me)

    def check(self, *, now: bool = False) -> None:
        """Raise PartialRunError when another start has taken the run over; looks at most every 5 s unless `now`."""
        if not now and time.monotonic() - self._checked < CHECK_INTERVAL_S:
            return
        self._checked = time.monotonic()
        if not self.holds():
            raise PartialRunError(
                f"{self._uri}: this run was taken over by {_name(self._holder())}; this start ends, nothing is lost or "
                "doubled"
            )

    def holds(self) -> bool:
        return self._holder().get("runner") == self._me["runner"]

    def release(self) -> None:
        """Say that nobody works on the run any more, unless somebody else does by now."""
        if self.holds():
            self._put({})

    def _holder(self) -> dict[str, Any]:
        try:
            return storage.read_json(self._uri)
        except InputError:
            return {}  # nobody yet

    def _put(self, holder: dict[str, Any]) -> None:
        storage.put_bytes(self._uri, json.dumps(holder, indent=1).encode())


def _name(holder: dict[str, Any]) -> str:
    if not holder:
        return "another start, which has ended"
    return f"process {holder['pid']} on {holder['host']} (started {holder['started_at']})"

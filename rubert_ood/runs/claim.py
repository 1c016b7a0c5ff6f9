"""Who works on a run: the newest start holds it, an older one that still lives stops and says so.

Two runners do little harm (each writes the same rows), but the older one wastes its machines and
must not publish, nor write into what the newer one has published by now: its workers ask before
each object (`check_holder`), and replace none that is good (`write.py`). A start never waits for a
lease to end: the runner before it may be dead, and mostly is.
"""

import json
import logging
import os
import socket
import time
import uuid
from datetime import UTC, datetime

from pydantic import TypeAdapter

from rubert_ood import storage
from rubert_ood.errors import PartialRunError
from rubert_ood.runs.record import Record, parse

log = logging.getLogger(__name__)

RUNNER_FILE = "runner.json"
CHECK_INTERVAL_S = 5.0


class Holder(Record):
    """What stands in runner.json: who holds the run, or nothing."""

    runner: str = ""
    """A token that no other start has."""
    host: str = ""
    pid: int = 0
    started_at: str = ""

    def __str__(self) -> str:
        if not self.runner:
            return "another start, which has ended"
        return f"process {self.pid} on {self.host} (started {self.started_at})"


HOLDER = TypeAdapter(Holder)
NOBODY = Holder()


class Runner:
    """This process as the holder of a run."""

    def __init__(self, run_uri: str) -> None:
        self._run_uri = run_uri
        self.token = uuid.uuid4().hex
        me = Holder(
            runner=self.token,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._checked = time.monotonic()
        older, _ = _look(run_uri)
        if older.runner:
            log.warning("run       taken over from %s, which had not finished", older)
        storage.put_bytes(_uri(run_uri), _json(me))

    def check(self, *, now: bool = False) -> None:
        """Raise PartialRunError when another start has taken the run over; looks at most every 5 s
        unless `now`."""
        if not now and time.monotonic() - self._checked < CHECK_INTERVAL_S:
            return
        self._checked = time.monotonic()
        check_holder(self._run_uri, self.token)

    def holds(self) -> bool:
        return _look(self._run_uri)[0].runner == self.token

    def release(self) -> None:
        """Say that nobody works on the run any more, unless somebody else does by now."""
        holder, version = _look(self._run_uri)
        if holder.runner == self.token:
            storage.swap_bytes(_uri(self._run_uri), _json(NOBODY), version)


def check_holder(run_uri: str, token: str) -> None:
    """Raise PartialRunError when the run is not held by the start with this token."""
    holder = _holder(run_uri, storage.read_optional(_uri(run_uri)))
    if holder.runner != token:
        raise PartialRunError(
            f"{_uri(run_uri)}: this run was taken over by {holder}; this start ends, nothing is"
            " lost or doubled"
        )


def _look(run_uri: str) -> tuple[Holder, str]:
    """Return who holds a run, and the version of what says so."""
    data, version = storage.read_versioned(_uri(run_uri))
    return _holder(run_uri, data), version


def _holder(run_uri: str, data: bytes | None) -> Holder:
    return NOBODY if data is None else parse(_uri(run_uri), data, HOLDER)


def _json(holder: Holder) -> bytes:
    return json.dumps(holder.model_dump(exclude_defaults=True), indent=1).encode()


def _uri(run_uri: str) -> str:
    return storage.join(run_uri, "_run", RUNNER_FILE)

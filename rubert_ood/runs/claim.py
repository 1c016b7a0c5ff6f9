"""The claim: the newest start may write a run, an older one that still runs stops.

Two starts at once do little harm (each writes the same rows), but the older one wastes its
machines and must not publish, nor write into what the newer one has published by now: its
workers ask before each object (`check_claim`), and replace none that is good (`write.py`). A
start never waits for a lease to end: the start before it may be dead, and mostly is.
"""

import os
import socket
import time
import uuid

from pydantic import Field, TypeAdapter

from rubert_ood import storage
from rubert_ood.clock import utc_now
from rubert_ood.errors import PartialRunError
from rubert_ood.progress import StepLog
from rubert_ood.runs.record import Record, parse

log = StepLog("run")

CLAIM_FILE = "runner.json"
"""Older versions, which may run beside this one, know it by this name."""
CHECK_INTERVAL_S = 5.0


class Claimant(Record):
    """What stands in runner.json: which start has claimed the run, or nothing."""

    token: str = Field("", alias="runner")
    """That no other start has; "" where nobody has claimed the run."""
    host: str = ""
    pid: int = 0
    started_at: str = ""

    def __str__(self) -> str:
        """Name it for a message."""
        if not self.token:
            return "another process (which has ended)"
        return f"process {self.pid} on {self.host} (started {self.started_at})"


CLAIMANT = TypeAdapter(Claimant)
NOBODY = Claimant()


class Claim:
    """The claim of this process on a run; it ends whatever claim is there."""

    def __init__(self, run_uri: str) -> None:
        """Claim the run of a folder, and say whose claim ends with that."""
        self._run_uri = run_uri
        self.token = uuid.uuid4().hex
        me = Claimant(
            runner=self.token,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=utc_now(),
        )
        self._checked = time.monotonic()
        older, _ = _look(run_uri)
        if older.token:
            log.warning("takes over the claim of %s, which had not finished", older)
        storage.put_bytes(_uri(run_uri), _json(me))

    def check(self, *, now: bool = False) -> None:
        """Raise PartialRunError if another start has claimed the run; asks storage at most every
        5 s unless `now`."""
        if not now and time.monotonic() - self._checked < CHECK_INTERVAL_S:
            return
        self._checked = time.monotonic()
        check_claim(self._run_uri, self.token)

    def holds(self) -> bool:
        """Ask whether no other start has claimed the run."""
        return _look(self._run_uri)[0].token == self.token

    def release(self) -> None:
        """Give the claim up, unless a newer start has taken it over."""
        claimant, version = _look(self._run_uri)
        if claimant.token == self.token:
            storage.swap_bytes(_uri(self._run_uri), _json(NOBODY), version)


def check_claim(run_uri: str, token: str) -> None:
    """Raise PartialRunError when the run is not claimed by the start with this token."""
    claimant = _parse(run_uri, storage.read_optional(_uri(run_uri)))
    if claimant.token != token:
        raise PartialRunError(
            f"{_uri(run_uri)}: {claimant} has claimed this run, so this"
            " process stops. Nothing is lost or doubled, and the other one"
            " goes on"
        )


def _look(run_uri: str) -> tuple[Claimant, str]:
    """Return who has claimed a run, and the version of what says so."""
    data, version = storage.read_versioned(_uri(run_uri))
    return _parse(run_uri, data), version


def _parse(run_uri: str, data: bytes | None) -> Claimant:
    return NOBODY if data is None else parse(_uri(run_uri), data, CLAIMANT)


def _json(claimant: Claimant) -> bytes:
    return storage.to_json(claimant.model_dump(by_alias=True, exclude_defaults=True))


def _uri(run_uri: str) -> str:
    return storage.join(run_uri, "_run", CLAIM_FILE)

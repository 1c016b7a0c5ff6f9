"""A storage in memory, and processes on it that take turns at each of its operations.

A process is a greenlet that runs the real code of a job. Whenever that code asks the storage, the
process stops, and the test says who goes on, and what happens to the operation: its answer gets
lost and the client asks again, a copy of the write arrives much later, the storage gives up, a list
does not show what is new, the process is killed.
"""

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import greenlet

from rubert_ood import storage
from rubert_ood.errors import InputError, StorageUnavailableError
from rubert_ood.publishing import run_before
from rubert_ood.runs import files as run_files
from rubert_ood.runs import parts as run_parts
from rubert_ood.runs import receipts as ledger
from rubert_ood.storage import objects
from rubert_ood.storage.listing import FileInfo, Listing

Fault = Literal[
    "", "answer lost", "late copy", "gives up", "gives up after it wrote", "stale list"
]
FAULTS: list[Fault] = [
    "answer lost",
    "late copy",
    "gives up",
    "gives up after it wrote",
    "stale list",
]


class Killed(BaseException):
    """Stands for kill -9."""


@dataclass
class Process:
    name: str
    job: Callable[[], Any]
    skew_s: int
    """How wrong its clock is."""
    may_go_back: bool = False
    """A rollback, or a publication by force."""
    error: Exception | None = None
    """How it ended, if not well; only errors that are meant for users are expected."""
    dead: bool = False
    workers: list["Process"] = field(default_factory=list)
    """Those that it waits for; they outlive it."""
    writes: str = ""
    """The object that its present operation writes."""
    turn: Any = field(init=False)

    def __post_init__(self) -> None:
        self.turn = greenlet.greenlet(self._run)
        self.turn.process = self

    def _run(self, _: Fault) -> None:
        with contextlib.suppress(Killed):
            self.job()

    @property
    def alive(self) -> bool:
        return not self.turn.dead


def running() -> Process | None:
    """Return the process whose turn it is; None in the test itself and in the threads of a
    process."""
    return getattr(greenlet.getcurrent(), "process", None)


class Memory:
    """Stands for `rubert_ood.storage`; objects appear whole, versions are those of their content as
    on S3."""

    def __init__(self, watch: Callable[[str, bytes | None, bytes], None]) -> None:
        self.objects: dict[str, bytes] = {}
        self.late: list[Callable[[], Any]] = []
        """Copies of writes that have not arrived yet."""
        self._watch = watch
        self._order: list[str] = []

    def install(self, patch: Callable[[Any, str, Any], None]) -> None:
        for name in ("exists", "read_bytes", "put_bytes", "swap_bytes"):
            for module in (storage, objects):  # as callers see it, and the storage itself
                patch(module, name, getattr(self, name))
        for module in (ledger, run_files, run_parts):
            patch(module, "list_below", self.list_below)
        patch(run_parts, "remove_files", self.remove_files)
        patch(run_before, "list_folders", self.list_folders)

    def exists(self, uri: str) -> bool:
        return self._ask(lambda: uri in self.objects)

    def read_bytes(self, uri: str) -> bytes:
        def read() -> bytes:
            if uri not in self.objects:
                raise InputError(f"{uri}: no such file") from FileNotFoundError(uri)
            return self.objects[uri]

        return self._ask(read)

    def put_bytes(self, uri: str, data: bytes) -> None:
        self._ask(lambda: self._write(uri, data), writes=uri)

    def swap_bytes(self, uri: str, data: bytes, version: str) -> bool:
        def swap() -> bool:
            found = self.objects.get(uri)
            if ("" if found is None else hashlib.sha256(found).hexdigest()) != version:
                return False
            self._write(uri, data)
            return True

        return self._ask(swap, writes=uri)

    def remove_files(self, uris: list[str]) -> None:
        for uri in uris:
            self._ask(lambda uri=uri: self._remove(uri))

    def _remove(self, uri: str) -> None:
        if self.objects.pop(uri, None) is not None:
            self._order.remove(uri)

    def list_below(self, uri: str, *, missing_ok: bool = False) -> Listing:
        fault = _turn("")
        shown = self._order[:-2] if fault == "stale list" else self._order
        names = sorted(name for name in shown if name.startswith(f"{uri}/"))
        if not missing_ok and not any(name.startswith(f"{uri}/") for name in self._order):
            raise InputError(f"{uri}: no such folder")
        return Listing(
            uri, [FileInfo(name, len(self.objects[name]), "") for name in names]
        )

    def list_folders(self, uri: str) -> list[str]:
        names = {
            name[len(uri) + 1 :].partition("/")[0]
            for name in self.objects
            if name.startswith(f"{uri}/")
        }
        folders = {name for name in names if f"{uri}/{name}" not in self.objects}
        return self._ask(lambda: [f"{uri}/{name}" for name in sorted(folders)])

    def _ask(self, operation: Callable[[], Any], *, writes: str = "") -> Any:
        fault = _turn(writes)
        if fault == "gives up":
            raise StorageUnavailableError("storage does not answer")
        result = operation()
        if fault == "gives up after it wrote":
            raise StorageUnavailableError("storage does not answer")
        if fault == "answer lost":  # the client asks again, after a while
            return self._ask(operation, writes=writes)
        if fault == "late copy" and writes:
            self.late.append(operation)
        return result

    def _write(self, uri: str, data: bytes) -> None:
        self._watch(uri, self.objects.get(uri), data)
        if uri not in self.objects:
            self._order.append(uri)
        self.objects[uri] = data


def _turn(writes: str) -> Fault:
    """Stop here until the test lets this process go on."""
    process = running()
    if process is None:
        return ""
    process.writes = writes
    fault: Fault = "" if process.dead else process.turn.parent.switch()
    if process.dead:
        raise Killed
    return fault


def go_on(process: Process, fault: Fault = "") -> None:
    """Let a process go on to its next operation, with something that happens to the present one."""
    process.turn.parent = greenlet.getcurrent()
    process.turn.switch(fault)


def kill(process: Process) -> None:
    """End a process before its present operation; what its code does on the way out reaches no
    storage."""
    process.dead = True
    while process.alive:
        go_on(process)

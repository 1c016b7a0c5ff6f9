"""What a killed process left half-written: known by its name, removed by the next start.

A name says which process writes: the machine (host, boot and process namespace: containers may
share a disk and their process numbers) and the process number.
"""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from functools import lru_cache

from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog

log = StepLog("storage")

OLD_S = 86_400.0
"""Nobody writes for so long: what is older is dead, wherever its process ran."""
OWN_NAME = re.compile(
    r"\.(?:staged-)?(?P<machine>[0-9a-f]{12})-(?P<pid>[0-9]+)-[0-9a-f]{32}(?:\.tmp)?"
)
OLDER_NAME = re.compile(r"\.staged-[0-9a-f]{32}|\.[0-9a-f]{32}\.tmp")
"""Names that 0.2.0 gave, which tell nothing of their process."""


def staged_name(suffix: str = ".tmp") -> str:
    """Return a new hidden name for a file on its way."""
    return f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex}{suffix}"


def staged_folder_name() -> str:
    """Return a new hidden name for a folder on its way."""
    return f".staged{staged_name('').replace('.', '-', 1)}"


def remove_leftovers(folder: str, *, deep: bool = False) -> int:
    """Remove what dead processes of this user left in a folder, or below it; return how many.

    A failure to do so stops nothing.
    """
    removed = 0
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(parent, name)
            if (OWN_NAME.fullmatch(name) or OLDER_NAME.fullmatch(name)) and _is_dead(
                path, name
            ):
                removed += _removed(path)
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
    if removed:
        log.info(
            "removed %s of ended processes from %s",
            count_of(removed, "unfinished file"),
            folder,
        )
    return removed


def _is_dead(path: str, name: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:  # finished, or removed by another start
        return False
    if found.st_uid != os.getuid():
        return False
    own = OWN_NAME.fullmatch(name)
    if own and own["machine"] == _machine() and not _lives(int(own["pid"])):
        return True
    return time.time() - found.st_mtime > OLD_S


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _removed(path: str) -> bool:
    with contextlib.suppress(OSError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        return True
    return False


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return a name of what gives out process numbers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        parts.append(file.read().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@contextlib.contextmanager
def staged(path: str, data: bytes) -> Iterator[str]:
    """Write a file that is on disk but has not got its name yet; yield the name it has."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    written = os.path.join(os.path.dirname(path), staged_name())
    try:
        with open(written, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield written
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(written)

"""Where Ray keeps the files of a cluster that a job starts for itself, and for how long.

Each start has a folder of its own and holds a lock on it, which the kernel releases when the
process ends. A folder whose lock is free belongs to nobody any more: the next start removes it.
"""

import os
import shutil
import uuid

from rubert_ood import storage
from rubert_ood.errors import SettingsError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.storage.folders import CACHE_DIR, private_cache

log = StepLog("ray")

MAX_SOCKET_BYTES = 107
"""Length of a Unix socket's path."""
SOCKET_BYTES = len("/session_2026-11-26_14-24-17_017962_4194304/sockets/plasma_store")
PREFIX = "ray-"
ID_CHARACTERS = 6
SHORT_PARENT = "/tmp"
_held: list[object] = []
"""Locks of this process, until it ends."""


def session_folder() -> str:
    """Make the session folder of a cluster of our own; remove those of dead processes.

    It lies below RAY_TMPDIR or TMPDIR; if sockets cannot lie that deep, below /tmp. SettingsError
    when RAY_TMPDIR was given and is too long.
    """
    cache = _parent()
    with storage.locked(os.path.join(cache, "ray")):
        removed = _remove_dead(cache)
        folder = os.path.join(cache, f"{PREFIX}{uuid.uuid4().hex[:ID_CHARACTERS]}")
        lock = storage.locked(folder)
        lock.__enter__()
        _held.append(lock)
        os.mkdir(folder, 0o700)
    if removed:
        log.info(
            "removed %s of ended jobs from %s",
            count_of(removed, "session folder"),
            cache,
        )
    return folder


def _parent() -> str:
    given = os.environ.get("RAY_TMPDIR")
    name = os.path.basename(CACHE_DIR)
    folder = os.path.join(given, name) if given else CACHE_DIR
    room = MAX_SOCKET_BYTES - SOCKET_BYTES - len(f"/{PREFIX}") - ID_CHARACTERS
    if len(os.fsencode(os.path.abspath(folder))) > room:
        if given:
            longest = room - len(name) - 1
            raise SettingsError(
                f"RAY_TMPDIR: {given} is longer than {longest} bytes, too"
                " long for the sockets of Ray. Use a shorter path"
            )
        log.info(
            "keeps its files in %s, because the path of TMPDIR is too long for sockets",
            SHORT_PARENT,
        )
        folder = os.path.join(SHORT_PARENT, name)
    return private_cache(folder)


def _remove_dead(cache: str) -> int:
    """Remove the session folders that no process holds; return how many."""
    removed = 0
    for name in os.listdir(cache):
        folder = os.path.join(cache, name)
        if not name.startswith(PREFIX) or not os.path.isdir(folder):
            continue
        with storage.locked(folder, wait=False) as is_free:
            if is_free:
                shutil.rmtree(folder, ignore_errors=True)
                os.unlink(storage.lock_path(folder))
                removed += 1
    return removed

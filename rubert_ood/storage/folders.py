"""Whole folders: bundles and checkpoints go to storage, and come to a node once."""

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from rubert_ood import storage
from rubert_ood.errors import OutputError, SettingsError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.storage import hub, leftovers
from rubert_ood.storage.retry import explained, retried

COPY_THREADS = 8
REMOVED_AT_ONCE = 1000
"""More S3 does not take."""
CACHE_DIR = os.path.join(tempfile.gettempdir(), f"rubert_ood-{os.getuid()}")
"""Where a node keeps what it fetched once."""
FETCH = ".fetch-"

log = StepLog("storage")


def put_folder(local_dir: str, uri: str, *, last: str) -> None:
    """Copy a flat folder to a URI, the file named `last` at the end: it says that all is there.

    On disk the whole folder appears in one rename.
    """
    names = sorted(name for name in os.listdir(local_dir) if name != last)
    if storage.is_s3(uri):
        with ThreadPoolExecutor(COPY_THREADS) as pool:
            list(
                pool.map(
                    lambda name: _upload(
                        storage.join(uri, name), os.path.join(local_dir, name)
                    ),
                    names,
                )
            )
        _upload(storage.join(uri, last), os.path.join(local_dir, last))
        return
    _, path = storage.filesystem(uri)
    with explained(uri, OutputError):
        parent = os.path.dirname(path)
        os.makedirs(parent, exist_ok=True)
        leftovers.remove_leftovers(parent)
        staged = os.path.join(parent, leftovers.staged_folder_name())
        # by the umask, as the files: mkdtemp would make a folder for this user alone
        os.mkdir(staged)
        try:
            for name in [*names, last]:
                shutil.copyfile(os.path.join(local_dir, name), os.path.join(staged, name))
            os.rename(staged, path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def remove_leftovers(output_uri: str, run_uri: str) -> None:
    """Remove what killed processes left half-written, right under an output and in a run of it."""
    if not storage.is_s3(output_uri):
        leftovers.remove_leftovers(storage.absolute(output_uri))
        leftovers.remove_leftovers(storage.absolute(run_uri), deep=True)


def remove_files(uris: Sequence[str]) -> None:
    """Remove files of one disk, or objects of one bucket; one that is gone is not a failure."""
    for start in range(0, len(uris), REMOVED_AT_ONCE):
        _remove(uris[start], uris[start : start + REMOVED_AT_ONCE])


@retried
def _remove(first: str, uris: Sequence[str]) -> None:
    paths = [storage.filesystem(uri)[1] for uri in uris]
    with explained(first, OutputError):
        if storage.is_s3(first):
            fs, _ = storage.filesystem(first)
            storage.upload(fs._bulk_delete, paths, size=0)
            return
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


@retried
def _upload(uri: str, local_path: str) -> None:
    fs, path = storage.filesystem(uri)
    with explained(uri, OutputError):
        storage.upload(fs._put_file, local_path, path, size=os.path.getsize(local_path))


@retried
def _download(uri: str, local_path: str) -> None:
    if hub.is_hub(uri):
        hub.download(uri, local_path)
        return
    fs, path = storage.filesystem(uri)
    with explained(uri):
        fs.get_file(path, local_path)


def fetch_folder(
    uri: str,
    kind: str,
    key: str,
    names: list[str],
    check: Callable[[str], None] | None = None,
) -> str:
    """Copy the named files of a folder to this node, once for all processes; return the copy.

    The copy appears whole, after `check` has seen it. `key` stands for the content: the same key is
    the same copy.
    """
    folder = os.path.join(private_cache(), kind, key)
    with storage.locked(folder):
        if not os.path.isdir(folder):
            _remove_dead_copies(os.path.dirname(folder), key)
            staged = tempfile.mkdtemp(
                prefix=f"{FETCH}{key}-", dir=os.path.dirname(folder)
            )
            try:
                with ThreadPoolExecutor(COPY_THREADS) as pool:
                    list(
                        pool.map(
                            lambda name: _download(
                                storage.join(uri, name), os.path.join(staged, name)
                            ),
                            names,
                        )
                    )
                if check is not None:
                    check(staged)
                os.rename(staged, folder)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
    return folder


def _remove_dead_copies(parent: str, held_key: str) -> None:
    """Remove unfinished copies; whoever made them is dead, since this process holds the lock."""
    removed = 0
    for name in sorted(os.listdir(parent)):
        path, key = (
            os.path.join(parent, name),
            name.removeprefix(FETCH).rpartition("-")[0],
        )
        if not name.startswith(FETCH):
            continue
        if key == held_key:
            is_dead = True
        elif key:
            with storage.locked(os.path.join(parent, key), wait=False) as is_dead:
                pass
        else:  # a name that 0.2.0 gave
            is_dead = time.time() - os.lstat(path).st_mtime > leftovers.OLD_S
        if is_dead:
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
    if removed:
        log.info(
            "removed %s of ended processes from %s",
            count_of(removed, "unfinished copy", "unfinished copies"),
            parent,
        )


def private_cache(folder: str = "") -> str:
    """Return a folder that only this user can read or write; SettingsError when it is another's.

    Models load from there, and its name is easy to guess in a place that everybody may write to.
    """
    folder = folder or CACHE_DIR
    with explained(folder, SettingsError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise SettingsError(
                f"{folder}: this folder belongs to another user. Remove it,"
                " or set TMPDIR to a private folder"
            )
        os.chmod(folder, 0o700)
    return folder

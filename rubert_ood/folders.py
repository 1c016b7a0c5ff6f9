"""Whole folders: bundles and checkpoints go to storage, and come to a node once."""

import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rubert_ood import storage
from rubert_ood.errors import OutputError, SettingsError
from rubert_ood.retry import explained, retried

COPY_THREADS = 8
CACHE_DIR = os.path.join(tempfile.gettempdir(), f"rubert_ood-{os.getuid()}")
"""Where a node keeps what it fetched once."""


def put_folder(local_dir: str, uri: str, *, last: str) -> None:
    """Copy a flat folder to a URI, the file named `last` after all others: its presence says that all is there.

    On disk the whole folder appears in one rename.
    """
    names = sorted(name for name in os.listdir(local_dir) if name != last)
    if storage.is_s3(uri):
        with ThreadPoolExecutor(COPY_THREADS) as pool:
            list(pool.map(lambda name: _upload(storage.join(uri, name), os.path.join(local_dir, name)), names))
        _upload(storage.join(uri, last), os.path.join(local_dir, last))
        return
    _, path = storage.filesystem(uri)
    with explained(uri, OutputError):
        parent = os.path.dirname(path)
        os.makedirs(parent, exist_ok=True)
        staged = os.path.join(parent, f".staged-{uuid.uuid4().hex}")
        os.mkdir(staged)  # by the umask, as the files: mkdtemp would make a folder for this user alone
        try:
            for name in [*names, last]:
                shutil.copyfile(os.path.join(local_dir, name), os.path.join(staged, name))
            os.rename(staged, path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


@retried
def _upload(uri: str, local_path: str) -> None:
    fs, path = storage.filesystem(uri)
    with explained(uri, OutputError):
        storage.upload(fs._put_file, local_path, path, size=os.path.getsize(local_path))


@retried
def _download(uri: str, local_path: str) -> None:
    fs, path = storage.filesystem(uri)
    with explained(uri):
        fs.get_file(path, local_path)


def fetch_folder(uri: str, kind: str, key: str, names: list[str], check: Callable[[str], None] | None = None) -> str:
    """Copy the named files of a folder to this node, once for all of its processes; return the local folder.

    The copy appears whole, after `check` has seen it. `key` stands for the content: the same key is the same copy.
    """
    folder = os.path.join(private_cache(), kind, key)
    with storage.locked(folder):
        if not os.path.isdir(folder):
            staged = tempfile.mkdtemp(prefix=".fetch-", dir=os.path.dirname(folder))
            try:
                with ThreadPoolExecutor(COPY_THREADS) as pool:
                    list(pool.map(lambda name: _download(storage.join(uri, name), os.path.join(staged, name)), names))
                if check is not None:
                    check(staged)
                os.rename(staged, folder)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
    return folder


def private_cache() -> str:
    """Return CACHE_DIR, which only this user can read or write; SettingsError when it is somebody else's.

    Models load from there, and its name is easy to guess in a folder that everybody may write to.
    """
    os.makedirs(CACHE_DIR, mode=0o700, exist_ok=True)
    found = os.lstat(CACHE_DIR)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SettingsError(f"{CACHE_DIR} is not this user's folder; remove it or set TMPDIR to a private folder")
    os.chmod(CACHE_DIR, 0o700)
    return CACHE_DIR

"""One way to files: a URI (a local path or s3://bucket/key) leads to an fsspec filesystem.

S3 endpoint, region and credentials come from the standard AWS environment, profile or instance role, never from
settings. Every process builds its own filesystem, so no key is ever pickled. A failure that may pass is tried again.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rubert_ood import leftovers
from rubert_ood.credentials import NO_PLACE, holds_credentials
from rubert_ood.errors import InputError, OutputError
from rubert_ood.retry import explained, retried

if TYPE_CHECKING:
    import pyarrow.fs

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 20
UPLOAD_START_S, SLOWEST_UPLOAD_BYTES_PER_S = 40, 2**18
CONDITION_FAILED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


@dataclass(frozen=True)
class FileInfo:
    uri: str
    size: int
    """Bytes."""
    version: str
    """ETag on object storage, modification time in ns on disk: changes when the content does."""


def is_s3(uri: str) -> bool:
    return uri.startswith(("s3://", "s3a://"))


@lru_cache(maxsize=1)
def _s3() -> Any:
    from rubert_ood.s3 import OwnedS3FileSystem, bucket_owner

    bucket_owner()  # refused before the first request

    # few attempts by botocore and s3fs, for a lost packet, or a silent server takes long; `retried` does the rest
    config = {
        "retries": {"mode": "standard", "total_max_attempts": 2},
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
    }
    fs = OwnedS3FileSystem(config_kwargs=config, use_listings_cache=False)
    fs.retries = 1
    return fs


def upload(operation: Any, *arguments: Any, size: int, **options: Any) -> None:
    """Run an upload of s3fs within a time that its size in bytes allows; TimeoutError after it.

    aiobotocore waits without end for a server that never says `100 Continue`: read_timeout does not count there.
    """
    from fsspec.asyn import sync

    limit_s = UPLOAD_START_S + size / SLOWEST_UPLOAD_BYTES_PER_S
    sync(_s3().loop, operation, *arguments, timeout=limit_s, **options)


def filesystem(uri: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URI and the path inside it; local paths become absolute."""
    import fsspec

    if holds_credentials(uri):
        raise InputError(f"a URI {NO_PLACE}")
    if is_s3(uri):
        path = uri.split("://", 1)[1].strip("/")
        if not path:
            raise InputError(f"{uri}: name a bucket")
        return _s3(), path
    path = uri.removeprefix("file://").removeprefix("localhost") if uri.startswith("file://") else uri
    if "://" in uri and (path is uri or not path.startswith("/")):
        raise InputError(f"{uri}: storage is a local path or s3://BUCKET/KEY")
    return fsspec.filesystem("file"), os.path.abspath(os.path.expanduser(path))


def arrow_filesystem(uri: str) -> tuple["pyarrow.fs.FileSystem", str]:
    """Return the same filesystem as pyarrow sees it, for pyarrow and Ray Train."""
    from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

    fs, path = filesystem(uri)
    return (PyFileSystem(FSSpecHandler(fs)) if is_s3(uri) else LocalFileSystem()), path


def join(uri: str, *parts: str) -> str:
    return posixpath.join(uri, *parts)


def absolute(uri: str) -> str:
    """Make a local path absolute: Ray workers do not run in the driver's folder."""
    return uri if is_s3(uri) else filesystem(uri)[1]


@retried
def exists(uri: str) -> bool:
    fs, path = filesystem(uri)
    with explained(uri):
        return fs.exists(path)


@retried
def read_bytes(uri: str) -> bytes:
    fs, path = filesystem(uri)
    with explained(uri):
        return fs.cat_file(path)


def read_json(uri: str) -> Any:
    """Read a JSON object that this package wrote; InputError when it is damaged."""
    try:
        return json.loads(read_bytes(uri))
    except ValueError as error:
        raise InputError(f"{uri}: damaged, it holds no JSON; restore or delete it") from error


@retried
def put_bytes(uri: str, data: bytes) -> None:
    """Write one object that appears whole or not at all, also over an older one. OutputError when it cannot be."""
    fs, path = filesystem(uri)
    with explained(uri, OutputError):
        if is_s3(uri):
            upload(fs._pipe_file, path, data, size=len(data))
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        staged = os.path.join(os.path.dirname(path), leftovers.staged_name())
        try:
            with open(staged, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(staged, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)


def read_versioned(uri: str) -> tuple[bytes | None, str]:
    """Return an object, or None when there is none, and its version for `swap_bytes`."""
    if not exists(uri):
        return None, ""
    fs, path = filesystem(uri)
    with explained(uri):
        version = fs.info(path)["ETag"] if is_s3(uri) else ""  # before the content: a change in between is seen
    data = read_bytes(uri)
    return data, version or hashlib.sha256(data).hexdigest()


@retried
def swap_bytes(uri: str, data: bytes, version: str) -> bool:
    """Replace an object if it still is of this version ("": if there still is none); say whether it was.

    After a lost answer it may say no although it has written: read the object again to be sure.
    """
    fs, path = filesystem(uri)
    if not is_s3(uri):
        with explained(uri, OutputError), locked(path):
            if read_versioned(uri)[1] != version:
                return False
            put_bytes(uri, data)
            return True
    condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
    with explained(uri, OutputError):
        try:
            upload(fs._pipe_file, path, data, size=len(data), **condition)
        except OSError as error:
            if getattr(error.__cause__, "response", {}).get("Error", {}).get("Code") in CONDITION_FAILED:
                return False
            raise
    return True


@contextlib.contextmanager
def locked(path: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that the processes of this machine share, of whatever user; yield whether it is held.

    Without `wait` it is not held when another process, or another call in this one, holds it. OutputError when
    something else than a file lies in its place: where others may write, a link could lead anywhere.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = _open_lock(lock_path(path))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)  # ends the lock, as the end of the process does


def lock_path(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.lock")


def _open_lock(path: str) -> int:
    """Open a lock file, or make it; one of another user for reading, which a lock on it does not need more than."""
    common = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    ways = (os.O_RDWR | os.O_CREAT, os.O_RDWR, os.O_RDONLY)  # the kernel refuses O_CREAT on others' files in /tmp
    denied: PermissionError | None = None
    for way in ways:
        try:
            descriptor = os.open(path, way | common, 0o666)
        except PermissionError as error:
            denied = denied or error
            continue
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise OutputError(f"{path}: something that is not a lock file lies there; remove it") from error
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise OutputError(f"{path}: something that is not a lock file lies there; remove it")
    assert denied is not None
    raise denied


@retried
def list_files(uri: str, suffixes: tuple[str, ...] = (), *, missing_ok: bool = False) -> list[FileInfo]:
    """List a file, a folder (recursively) or a glob, sorted by URI; names with a leading `_` or `.` are skipped.

    Raises InputError when there is no such file or folder, unless it may be missing. An empty list means that it holds
    no matching file.
    """
    fs, path = filesystem(uri)
    with explained(uri):
        plain = re.split(r"[*?\[]", path)[0]
        if plain != path:
            found, root = fs.glob(path, detail=True), plain.rpartition("/")[0]
        else:
            found, root = fs.find(path, detail=True), path
            if not found and not missing_ok:
                fs.info(path)  # raises when there is nothing at all
    files = []
    for name, info in sorted(found.items()):
        inner = name[len(root) :].split("/") if name != root else []
        if info["type"] != "file" or any(part.startswith(("_", ".")) for part in inner):
            continue
        if suffixes and name != root and not name.lower().endswith(suffixes):
            continue
        version = str(info.get("ETag") or os.stat(name).st_mtime_ns).strip('"')
        files.append(FileInfo(f"s3://{name}" if is_s3(uri) else name, int(info["size"]), version))
    return files


@retried
def list_folders(uri: str) -> list[str]:
    """List the folders right under a folder, sorted; InputError when there is no such folder."""
    fs, path = filesystem(uri)
    with explained(uri):
        found = fs.ls(path, detail=True)
    names = sorted(info["name"].rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory")
    return [join(uri, name) for name in names]

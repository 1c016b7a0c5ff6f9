"""One way to files: a URI (a local path or s3://bucket/key) leads to an fsspec filesystem.

S3 endpoint, region and credentials come from the standard AWS environment, profile or instance role, never from
settings. Every process builds its own filesystem, so no key is ever pickled.
"""

import contextlib
import json
import os
import posixpath
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rubert_ood.errors import InputError

if TYPE_CHECKING:
    import pyarrow.fs

UPLOAD_THREADS = 8
CACHE_DIR = os.path.join(tempfile.gettempdir(), f"rubert_ood-{os.getuid()}")
"""Where a node keeps what it fetched once: bundles and checkpoints."""


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
    import fsspec

    return fsspec.filesystem("s3", config_kwargs={"retries": {"mode": "standard", "max_attempts": 6}})


def filesystem(uri: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URI and the path inside it; local paths become absolute."""
    import fsspec

    if is_s3(uri):
        path = uri.split("://", 1)[1].strip("/")
        if not path:
            raise InputError(f"{uri}: name a bucket")
        return _s3(), path
    if "://" in uri and not uri.startswith("file://"):
        raise InputError(f"{uri}: storage is a local path or s3://BUCKET/KEY")
    return fsspec.filesystem("file"), os.path.abspath(uri.removeprefix("file://"))


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


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn a storage failure into one line that names the URI."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{uri}: no such file, folder or bucket") from error
    except PermissionError as error:
        raise InputError(f"{uri}: access denied; check the credentials and the policy of the bucket") from error
    except OSError as error:
        raise InputError(f"{uri}: {' '.join(str(error).split())}") from error
    except Exception as error:
        if type(error).__module__.startswith("botocore."):  # botocore's own errors are no OSErrors
            raise InputError(f"{uri}: {' '.join(str(error).split())}") from error
        raise


def exists(uri: str) -> bool:
    fs, path = filesystem(uri)
    with explained(uri):
        fs.invalidate_cache()
        return fs.exists(path)


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


def put_bytes(uri: str, data: bytes) -> None:
    """Write one object that appears whole or not at all, also over an older one."""
    fs, path = filesystem(uri)
    with explained(uri):
        if is_s3(uri):
            fs.pipe_file(path, data)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        staged = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.tmp")
        try:
            with open(staged, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(staged, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)


def list_files(uri: str, suffixes: tuple[str, ...] = ()) -> list[FileInfo]:
    """List a file, a folder (recursively) or a glob, sorted by URI; names with a leading `_` or `.` are skipped.

    Raises InputError when there is no such file or folder. An empty list means that it holds no matching file.
    """
    fs, path = filesystem(uri)
    with explained(uri):
        fs.invalidate_cache()
        plain = re.split(r"[*?\[]", path)[0]
        if plain != path:
            found, root = fs.glob(path, detail=True), plain.rpartition("/")[0]
        else:
            found, root = fs.find(path, detail=True), path
            if not found:
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


def put_folder(local_dir: str, uri: str, *, last: str) -> None:
    """Copy a flat folder to a URI, the file named `last` after all others: its presence says that all is there.

    On disk the whole folder appears in one rename.
    """
    names = sorted(name for name in os.listdir(local_dir) if name != last)
    fs, path = filesystem(uri)
    with explained(uri):
        if is_s3(uri):
            with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
                list(pool.map(lambda name: fs.put_file(os.path.join(local_dir, name), f"{path}/{name}"), names))
            fs.put_file(os.path.join(local_dir, last), f"{path}/{last}")
            return
        parent = os.path.dirname(path)
        os.makedirs(parent, exist_ok=True)
        staged = tempfile.mkdtemp(prefix=".staged-", dir=parent)
        try:
            for name in [*names, last]:
                shutil.copyfile(os.path.join(local_dir, name), os.path.join(staged, name))
            os.chmod(staged, 0o755)
            os.rename(staged, path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def fetch_folder(uri: str, cache_dir: str, names: list[str]) -> None:
    """Copy the named files of a folder into a local folder that appears whole; a second caller finds it there."""
    if os.path.isdir(cache_dir):
        return
    fs, path = filesystem(uri)
    os.makedirs(os.path.dirname(cache_dir), exist_ok=True)
    staged = tempfile.mkdtemp(prefix=".fetch-", dir=os.path.dirname(cache_dir))
    try:
        with explained(uri), ThreadPoolExecutor(UPLOAD_THREADS) as pool:
            list(pool.map(lambda name: fs.get_file(f"{path}/{name}", os.path.join(staged, name)), names))
        with contextlib.suppress(OSError):  # another process was first: its copy is as good
            os.rename(staged, cache_dir)
    finally:
        shutil.rmtree(staged, ignore_errors=True)

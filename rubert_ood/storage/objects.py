"""One way to files: a URI (a local path or s3://bucket/key) leads to an fsspec filesystem.

S3 endpoint, region and credentials come from the standard AWS environment, profile or instance
role, never from settings. Every process builds its own filesystem, so no key is ever pickled. A
failure that may pass is tried again.
"""

import errno
import hashlib
import json
import os
import posixpath
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rubert_ood.credentials import NO_PLACE, holds_credentials
from rubert_ood.errors import InputError, OutputError, SettingsError
from rubert_ood.plain import CONTROLS
from rubert_ood.storage import hub, leftovers
from rubert_ood.storage.locks import locked
from rubert_ood.storage.retry import explained, retried

if TYPE_CHECKING:
    import pyarrow.fs

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 20
UPLOAD_START_S, SLOWEST_UPLOAD_BYTES_PER_S = 40, 2**18
CONDITION_FAILED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
OBJECT_IS_GONE = ("NoSuchKey", "404")
NO_CONDITIONS = ("NotImplemented", "501")
"""S3 error codes: the object has another version; it is gone; the server knows no conditions."""
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def is_s3(uri: str) -> bool:
    """Say whether a URI leads to S3."""
    return uri.startswith(("s3://", "s3a://"))


def is_remote(uri: str) -> bool:
    """Say whether what lies there is copied to this disk before it is used."""
    return is_s3(uri) or hub.is_hub(uri)


@lru_cache(maxsize=1)
def _s3() -> Any:
    from rubert_ood.storage.s3 import OwnedS3FileSystem, bucket_owner

    bucket_owner()  # refused before the first request

    # few attempts by botocore and s3fs, for a lost packet, or a silent server takes long; `retried`
    # does the rest
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

    aiobotocore waits without end for a server that never says `100 Continue`: read_timeout does not
    count there.
    """
    from fsspec.asyn import sync

    limit_s = UPLOAD_START_S + size / SLOWEST_UPLOAD_BYTES_PER_S
    sync(_s3().loop, operation, *arguments, timeout=limit_s, **options)


def filesystem(uri: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URI and the path inside it; local paths become absolute."""
    import fsspec

    path = _path(uri)
    return (_s3() if is_s3(uri) else fsspec.filesystem("file")), path


def _path(uri: str) -> str:
    """Return the path inside the filesystem; InputError when nothing can lie there."""
    if holds_credentials(uri):
        raise InputError(f"a URI {NO_PLACE}")
    if CONTROLS.search(uri):
        raise InputError(f"{uri}: a URI must not hold control characters")
    if not uri:
        raise InputError("a URI is empty. Use a local path or s3://BUCKET/KEY")
    if is_s3(uri):
        path = uri.split("://", 1)[1]
        if not path or path.startswith("/"):
            raise InputError(f"{uri}: the bucket is missing. Use s3://BUCKET/KEY")
        return path.rstrip("/")
    path = uri
    if uri.startswith("file://"):
        path = uri.removeprefix("file://").removeprefix("localhost")
    if "://" in uri and (path is uri or not path.startswith("/")):
        raise InputError(
            f"{uri}: this kind of storage is not supported. Use a local path or"
            " s3://BUCKET/KEY"
        )
    return os.path.abspath(os.path.expanduser(path))


def arrow_filesystem(uri: str) -> tuple["pyarrow.fs.FileSystem", str]:
    """Return the same filesystem as pyarrow sees it, for pyarrow and Ray Train."""
    from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

    fs, path = filesystem(uri)
    return (PyFileSystem(FSSpecHandler(fs)) if is_s3(uri) else LocalFileSystem()), path


def join(uri: str, *parts: str) -> str:
    """Append names to a URI."""
    return posixpath.join(uri, *parts)


def absolute(uri: str | os.PathLike[str]) -> str:
    """Return a URI as text without a slash at its end; a local path becomes absolute: Ray workers
    do not run in the driver's folder.

    Raises SettingsError when it is not text or a path, InputError when nothing can lie there.
    """
    text = os.fspath(uri) if isinstance(uri, os.PathLike) else uri
    if not isinstance(text, str):
        kind = type(text).__name__
        raise SettingsError(
            f"a URI must be text, and this is of type {kind}. Use a local"
            " path or s3://BUCKET/KEY"
        )
    if hub.is_hub(text):
        return hub.plain(text)
    path = _path(text)
    return text.rstrip("/") if is_s3(text) else path


@retried
def exists(uri: str) -> bool:
    """Say whether there is an object or a folder."""
    fs, path = filesystem(uri)
    with explained(uri):
        return fs.exists(path)


@retried
def read_bytes(uri: str) -> bytes:
    """Return an object; InputError when there is none."""
    if hub.is_hub(uri):
        return hub.read_bytes(uri)
    fs, path = filesystem(uri)
    with explained(uri):
        return fs.cat_file(path)


def to_json(content: object) -> bytes:
    """Return records, and plain content, as this package writes JSON; ValueError for NaN."""
    from pydantic_core import to_jsonable_python

    plain = to_jsonable_python(content)
    return json.dumps(plain, ensure_ascii=False, indent=1, allow_nan=False).encode()


def put_json(uri: str, content: object) -> None:
    """Write a record, or plain content, as `put_bytes` does."""
    put_bytes(uri, to_json(content))


def read_optional(uri: str) -> bytes | None:
    """Return an object, or None when there is none."""
    try:
        return read_bytes(uri)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise


def read_json(uri: str) -> Any:
    """Read a JSON object that this package wrote; InputError when it is damaged."""
    try:
        content = json.loads(read_bytes(uri))
    except (ValueError, RecursionError) as error:
        raise _damaged(uri, "JSON") from error
    if not isinstance(content, dict):
        raise _damaged(uri, "a JSON object")
    return content


def _damaged(uri: str, kind: str) -> InputError:
    return InputError(
        f"{uri}: the file is damaged (it does not hold {kind}). Restore or delete it"
    )


@retried
def put_bytes(uri: str, data: bytes) -> None:
    """Write one object, whole or not at all, also over an older one; OutputError if that fails."""
    fs, path = filesystem(uri)
    with explained(uri, OutputError):
        if is_s3(uri):
            upload(fs._pipe_file, path, data, size=len(data))
            return
        with leftovers.staged(path, data) as staged:
            os.replace(staged, path)


def read_versioned(uri: str) -> tuple[bytes | None, str]:
    """Return an object, or None when there is none, and its version for `swap_bytes`."""
    # before the content: a change in between is seen
    version = _etag(uri) if is_s3(uri) else ""
    data = None if is_s3(uri) and not version else read_optional(uri)
    if data is None:
        return None, ""
    return data, version or hashlib.sha256(data).hexdigest()


@retried
def _etag(uri: str) -> str:
    """Return the ETag of an object on S3; "" when there is none."""
    fs, path = filesystem(uri)
    with explained(uri):
        try:
            return str(fs.info(path).get("ETag", ""))
        except FileNotFoundError:
            return ""


def create_bytes(uri: str, data: bytes) -> bool:
    """Put an object where there is none; say whether it was put (after a lost answer: see swap)."""
    return swap_bytes(uri, data, "")


@retried
def swap_bytes(uri: str, data: bytes, version: str) -> bool:
    """Replace an object that still is of this version ("": of none); say whether it was.

    After a lost answer it may say no although it has written: read the object again to be sure. A
    server that knows no conditional put is asked for the version right before, which leaves a gap
    of one request.
    """
    _, path = filesystem(uri)
    with explained(uri, OutputError):
        if is_s3(uri):
            return _put_on_condition(uri, data, version)
        if not version:
            with leftovers.staged(path, data) as staged:
                return _name_if_free(staged, path)
        with locked(path):
            if read_versioned(uri)[1] != version:
                return False
            put_bytes(uri, data)
            return True


def ignores_conditions(uri: str, data: bytes) -> bool:
    """Say whether the storage overwrites this object although it is told not to."""
    return is_s3(uri) and create_bytes(uri, data)


def _put_on_condition(uri: str, data: bytes, version: str) -> bool:
    fs, path = filesystem(uri)
    condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
    one_put = max(len(data), 1)  # s3fs would drop the condition from a multipart upload
    try:
        upload(fs._pipe_file, path, data, chunksize=one_put, size=len(data), **condition)
    except OSError as error:
        code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
        if code in CONDITION_FAILED or (version and code in OBJECT_IS_GONE):
            return False
        if code not in NO_CONDITIONS:
            raise
        if read_versioned(uri)[1] != version:
            return False
        put_bytes(uri, data)
    return True


def _name_if_free(staged: str, path: str) -> bool:
    """Give a staged file its name unless another file has it; say whether it got it."""
    try:
        os.link(staged, path)
        return True
    except FileExistsError:
        # NFS: it is this file, and only the answer got lost
        return os.stat(staged).st_nlink > 1
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
    with locked(path):
        if os.path.lexists(path):
            return False
        os.replace(staged, path)
        return True

"""Locks that the processes of one machine share; they end with the process that holds them."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator

from rubert_ood.errors import OutputError


@contextlib.contextmanager
def locked(path: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that all processes of this machine share; yield whether it is held.

    Without `wait` it is not held when another process, or another call in this one, holds it.
    OutputError when something else than a file lies in its place: where others may write, a link
    could lead anywhere.
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
    """Return the file that stands for the lock of a path, beside it."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.lock")


def _open_lock(path: str) -> int:
    """Open a lock file, or make it; for reading where it is another user's, which is enough."""
    common = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    # the kernel refuses O_CREAT on others' files in /tmp
    ways = (
        os.O_RDWR | os.O_CREAT,
        os.O_RDWR,
        os.O_RDONLY,
    )
    denied: PermissionError | None = None
    for way in ways:
        try:
            descriptor = os.open(path, way | common, 0o666)
        except PermissionError as error:
            denied = denied or error
            continue
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise OutputError(
                    f"{path}: this is not a lock file. Remove it"
                ) from error
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise OutputError(f"{path}: this is not a lock file. Remove it")
    assert denied is not None
    raise denied

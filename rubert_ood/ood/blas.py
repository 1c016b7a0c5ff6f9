"""The last bits of numpy's products depend on how many threads compute them: one in Ray's workers,
all cores elsewhere. What decides on an ad is computed in one."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock

from threadpoolctl import ThreadpoolController

_LIMITING = RLock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let numpy compute in one thread, in the whole process, until the block ends.

    One block at a time: of two that overlap, the second would leave the limit of the first behind.
    """
    with _LIMITING, _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()

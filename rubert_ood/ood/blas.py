"""The last bits of numpy's products depend on how many threads compute them: one in Ray's workers,
all cores elsewhere. What decides on an ad is computed in one."""

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[object]:
    """Let numpy compute in one thread, in the whole process, until the block ends."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()

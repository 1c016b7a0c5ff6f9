"""Batches side by side, each on a thread of its own, whoever asks for them.

Threads that share a batch wait for each other at every product, and wait long where another process
takes a core now and then. All callers of a process share the threads: where one of them has no
batch left, the threads go on with those of the next.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier, Lock
from typing import TypeVar

import torch

Batch = TypeVar("Batch")
Result = TypeVar("Result")

_choosing, _all_threads = Lock(), Lock()


def run_batches(forward: Callable[[Batch], Result], batches: list[Batch]) -> list[Result]:
    """Run each batch on one of as many threads as torch has; a few batches on all of them."""
    with (
        _choosing
    ):  # while threads begin, torch would tell a new thread that there is one
        num_threads = torch.get_num_threads()
        threads = _threads(num_threads)
    if len(batches) < num_threads:
        with _all_threads:
            return [forward(batch) for batch in batches]
    return list(threads.map(forward, batches))


@lru_cache(maxsize=1)
def _threads(count: int) -> ThreadPoolExecutor:
    """Start threads in which torch computes alone; what it does in others stays."""
    all_there = Barrier(count)

    def begin() -> None:
        torch.set_num_threads(1)  # of this thread, and of those that begin later
        torch.get_num_threads()  # now this one has begun, and keeps it
        all_there.wait()

    threads = ThreadPoolExecutor(count, "batch", initializer=begin)
    list(threads.map(lambda _: None, range(count)))
    torch.set_num_threads(count)
    return threads

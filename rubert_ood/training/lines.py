"""Progress lines of a training, from the worker that speaks to the driver, where the user reads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ray.util.queue import Queue

from rubert_ood.progress import StepLog

log = StepLog("train")


@contextmanager
def shown_lines() -> Iterator[Queue]:
    """Show what is put into the queue, as it comes, until the block ends."""
    lines = Queue(actor_options={"num_cpus": 0})
    printer = threading.Thread(target=_print_lines, args=(lines,), daemon=True)
    printer.start()
    try:
        yield lines
    finally:
        lines.put(None)
        printer.join(timeout=10)


def tell(lines: Queue, line: str) -> None:
    """Send a line, and wait for nothing: a report of Ray Train takes up to a fifth of a second."""
    lines.actor.put_nowait.remote(line)


def _print_lines(lines: Queue) -> None:
    while (line := lines.get()) is not None:
        log.info(line)

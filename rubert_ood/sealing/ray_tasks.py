"""One file is one Ray task."""

import gc
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import ray
import ray.exceptions

from rubert_ood import interrupts
from rubert_ood.errors import PartialRunError
from rubert_ood.ray_session import TASK_RETRIES, one_line
from rubert_ood.runs.profile import ShardProfile
from rubert_ood.runs.receipts import Receipt
from rubert_ood.runs.seals import Group
from rubert_ood.sealing.seal import SealJob, SealResult, seal_file

NUM_CPUS = 1
POLL_S = 1.0


def seal_on_cluster(
    groups: list[Group], job: SealJob, timeout_s: float
) -> Iterator[SealResult]:
    """Yield what becomes of each file as it comes; Ray must have been started.

    Raises PartialRunError when no task ends for timeout_s, or when the cluster fails.
    """
    gc.collect()  # what scored holds its CPUs as long as something names it
    task = ray.remote(num_cpus=NUM_CPUS, **TASK_RETRIES)(seal_file)
    shared, left = ray.put(job), deque(groups)
    running: list[ray.ObjectRef] = []
    try:
        while left or running:
            while left and len(running) < _most_at_once():
                running.append(task.remote(_slim(left.popleft()), shared))
            done, running = _wait(running, timeout_s)
            yield ray.get(done)
    except ray.exceptions.RayError as error:
        raise PartialRunError(
            "sealing stopped. Run the same command again to resume. Ray"
            f" says: {one_line(error)}"
        ) from error
    finally:
        with suppress(ray.exceptions.RayError):
            for reference in running:
                ray.cancel(reference, force=True)


def _most_at_once() -> int:
    """Return how many tasks are worth waiting in a queue: twice what runs."""
    return max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))


def _wait(
    running: list[ray.ObjectRef], timeout_s: float
) -> tuple[ray.ObjectRef, list[ray.ObjectRef]]:
    """Wait for the first task that ends; return it and the others."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, others = ray.wait(running, num_returns=1, timeout=POLL_S)
        interrupts.raise_received()
        if done:
            return done[0], others
    raise PartialRunError(
        f"no file was sealed for {timeout_s:g} s (no_progress_timeout_s)."
        " Storage or a node does not answer, or the cluster has no free"
        " CPU. Run the same command again to resume"
    )


def _slim(group: Group) -> Group:
    """Leave behind what no check asks for, so that little travels."""
    by_id = dict[str, Receipt]()
    for receipt in group.receipts:
        histogram = receipt.profile.token_histogram
        profile = ShardProfile(token_histogram=histogram)
        by_id[receipt.shard_id] = receipt.model_copy(update={"profile": profile})
    return replace(group, by_id=by_id)

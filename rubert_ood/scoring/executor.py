"""Who takes shards through the stages: Ray (ray_executor.py), or this process alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.runs.plan import Shard
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.item import ShardItem, ShardResult
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.write import write
from rubert_ood.settings import ScoreSettings


class ExecutorStalledError(Exception):
    """The executor ended before its shards did; what did not come back may be tried again."""

    def __init__(self, reason: str, *, nodes_changed: bool = False) -> None:
        """`nodes_changed` says that nodes came or went, so that another pass may do better."""
        super().__init__(reason)
        self.nodes_changed = nodes_changed


class Executor(Protocol):
    """Where shards are scored."""

    def run(
        self, job: ScoringJob, shards: list[Shard], *, alone: bool = False
    ) -> Iterator[ShardResult]:
        """Encode, score and write shards; yield what became of each as it comes out, in any order.

        A shard that is lost with its process does not come back; `alone`, it takes no other along.
        Raises ExecutorStalledError, and RubertOodError where no shard can be scored.
        """
        ...


class LocalExecutor:
    """One shard after the other, on all cores of this process."""

    def run(
        self, job: ScoringJob, shards: list[Shard], *, alone: bool = False
    ) -> Iterator[ShardResult]:
        """Score one shard after the other, and yield each result at once."""
        num_shards = count_of(len(shards), "shard")
        StepLog("score").info("scores %s in this process", num_shards)
        scorer = Scorer(job)
        with _threads(len(os.sched_getaffinity(0))):
            for shard in shards:
                yield write(scorer(encode(ShardItem(shard), job)), job)


def check_device(use_gpu: bool) -> None:
    """Raise SettingsError when this machine lacks the GPU that is asked for."""
    if use_gpu:
        from rubert_ood.classifier.precision import choose_device

        choose_device(use_gpu)


def make_executor(settings: ScoreSettings) -> Executor:
    """Return the executor that the settings name; the one for Ray needs a Ray session."""
    if settings.executor == "local":
        return LocalExecutor()
    from rubert_ood.scoring.ray_executor import RayExecutor

    return RayExecutor(settings)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch compute in so many threads, as a scoring actor does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Shards through Ray Data: encode tasks, actors that hold the model, write tasks.

One block holds one shard all the way: a batch of one row, whose `rows` and `texts` are lists of
structs. So Ray can neither split nor merge a shard, and one without a scorable row still arrives.
Neighbouring stages ask for different num_cpus on purpose: Ray fuses stages that ask for the same,
and encoding would then run inside the actor that should be computing.
"""

import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from ray.data.exceptions import ExecutionTimeoutError

from rubert_ood.errors import PartialRunError, SettingsError
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import TASK_RETRIES, one_line
from rubert_ood.runs.plan import Shard
from rubert_ood.scoring.batch import from_batch, result_batch, to_batch
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.executor import ExecutorStalledError
from rubert_ood.scoring.item import ShardItem, ShardResult
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.write import write
from rubert_ood.settings import ScoreSettings

ENCODE_CPUS = 0.25
WRITE_CPUS = 0.2
WHOLE_BLOCKS = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}


def encode_batch(batch: pa.Table, job: ScoringJob) -> pa.Table:
    """Read and tokenize one shard, as a Ray task."""
    return to_batch(encode(from_batch(batch), job))


class ScorerActor:
    """A scorer that loads its network while the first shard is encoded."""

    def __init__(self, job: ScoringJob, actors_per_node: int) -> None:
        num_cores = len(os.sched_getaffinity(0))
        self._scorer = Scorer(job, num_threads=max(1, num_cores // actors_per_node))
        Thread(target=self._warm_up, daemon=True).start()

    def _warm_up(self) -> None:
        """Load; a failure comes again with each shard, which can report its reason."""
        with suppress(Exception):
            self._scorer.model()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score one shard; Ray calls this for each block."""
        return to_batch(self._scorer(from_batch(batch)))


def write_batch(batch: pa.Table, job: ScoringJob) -> pa.Table:
    """Put part and receipt of one shard, as a Ray task."""
    return result_batch(write(from_batch(batch), job))


class RayExecutor:
    """Scores on the cluster that this process has joined."""

    def __init__(self, settings: ScoreSettings) -> None:
        self._settings = settings

    def run(self, job: ScoringJob, shards: list[Shard]) -> Iterator[ShardResult]:
        """Yield results as tasks end; ExecutorStalledError where none ends in time."""
        timeout_s = self._settings.no_progress_timeout_s
        pool = size_actors(self._settings, len(shards))
        StepLog("score").info("%d actor(s), %d shards", pool.num_actors, len(shards))
        results = _graph(job, shards, pool)
        # a shard lost with its process stops no other
        results.context.max_errored_blocks = -1
        results.context.execution_no_progress_timeout_s = timeout_s
        try:
            for row in results.iter_rows():
                yield ShardResult(**row)
        except ExecutionTimeoutError as error:
            raise ExecutorStalledError(
                f"no shard moved for {timeout_s:g} s (no_progress_timeout_s): storage or a node"
                " does not answer, the cluster lacks what the actors ask for,"
                " or one shard takes longer (shard_rows)"
            ) from error
        except ray.exceptions.RayError as error:
            raise ExecutorStalledError(one_line(error)) from error


@dataclass(frozen=True)
class ActorPool:
    """How many scorers run, and what each gets of its node."""

    num_actors: int
    cpus: float
    """Logical CPUs that each asks for."""
    per_node: int
    """Actors that share the cores of a node."""


def _graph(job: ScoringJob, shards: list[Shard], pool: ActorPool) -> ray.data.Dataset:
    task = {"fn_kwargs": {"job": job}, **WHOLE_BLOCKS, **TASK_RETRIES}
    # A shard whose actor dies waits for the next pass, not for an actor that may find no node to
    # restart on.
    actor = {"max_restarts": -1, "max_task_retries": 0, **WHOLE_BLOCKS}
    if job.plan.use_gpu:
        actor["num_gpus"] = 1
    return (
        ray.data.from_arrow([to_batch(ShardItem(shard)) for shard in shards])
        .map_batches(encode_batch, num_cpus=ENCODE_CPUS, **task)
        .map_batches(
            ScorerActor,
            fn_constructor_args=(job, pool.per_node),
            # one at a time: a shard that kills the actor must not take another with it
            compute=ray.data.ActorPoolStrategy(
                size=pool.num_actors, max_tasks_in_flight_per_actor=1
            ),
            num_cpus=pool.cpus,
            **actor,
        )
        .map_batches(write_batch, num_cpus=WRITE_CPUS, **task)
    )


def size_actors(settings: ScoreSettings, num_shards: int) -> ActorPool:
    """Say how many actors score, what each asks for, and how many share a node.

    One actor per node with all its threads beats several with fewer. It asks for all logical CPUs
    of the node but those of one encode and one write: with less, a second actor that lost its own
    node could move in and take their room, and the run would wait for ever.
    """
    if settings.compute.use_gpu:
        return _gpu_actors(settings, num_shards)
    workers = _cpus_of_workers(settings.no_progress_timeout_s)
    num_actors = min(settings.compute.num_workers or len(workers), num_shards)
    per_node = -(-num_actors // len(workers))
    cpus = (min(workers) - ENCODE_CPUS - WRITE_CPUS) / per_node
    return ActorPool(num_actors, math.floor(100 * cpus) / 100, per_node)


def _gpu_actors(settings: ScoreSettings, num_shards: int) -> ActorPool:
    num_gpus = settings.compute.num_workers or int(
        sum(node.get("GPU", 0) for node in _living_nodes())
    )
    if num_gpus == 0:
        raise SettingsError(
            "compute.use_gpu: no GPU in the cluster yet;"
            " give compute.num_workers, then the autoscaler starts them"
        )
    return ActorPool(min(num_gpus, num_shards), cpus=1, per_node=1)


def _cpus_of_workers(timeout_s: float) -> list[float]:
    """Return the logical CPUs of each node that has some; wait for one where all died, or none
    came yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        workers = [node["CPU"] for node in _living_nodes() if node.get("CPU", 0) >= 1]
        if workers:
            return workers
        if time.monotonic() > deadline:
            raise PartialRunError(
                "no node of the cluster has a CPU for work;"
                " the same command goes on from there"
            )
        time.sleep(1)


def _living_nodes() -> list[dict[str, float]]:
    """Return the resources of each node that lives."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]

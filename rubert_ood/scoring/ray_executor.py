"""Shards through Ray Data: encode tasks, actors that hold the model, write tasks.

One block holds one shard all the way: a batch of one row, whose `rows` and `texts` are lists of
structs. So Ray can neither split nor merge a shard, and one without a scorable row still arrives.
Neighbouring stages ask for different num_cpus on purpose: Ray fuses stages that ask for the same,
and encoding would then run inside the actor that should be computing.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from ray.data.exceptions import ExecutionTimeoutError

from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import TASK_RETRIES, one_line
from rubert_ood.runs.plan import Shard
from rubert_ood.scoring.batch import from_batch, result_batch, result_of, to_batch
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.executor import ExecutorStalledError
from rubert_ood.scoring.item import ShardItem, ShardResult
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.ray_metrics import RaySender, ScorerMetrics
from rubert_ood.scoring.ray_pool import (
    ENCODE_CPUS,
    WRITE_CPUS,
    ActorPool,
    living_nodes,
    size_actors,
)
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.write import write
from rubert_ood.settings import ScoreSettings
from rubert_ood.traces import last_lines

log = StepLog("score")

IN_FLIGHT = {True: 3, False: 2}
"""By use_gpu, shards that an actor has at a time. A GPU computes one while another is decided on,
and the next is at hand when it is done. Threads of a CPU that have no batch of one shard left take
those of the other."""
WHOLE_BLOCKS = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}


def encode_batch(batch: pa.Table, job: ScoringJob) -> pa.Table:
    """Read and tokenize one shard, as a Ray task."""
    return to_batch(encode(from_batch(batch), job))


class ScorerActor:
    """A scorer that loads its network while the first shard is encoded."""

    def __init__(self, job: ScoringJob, actors_per_node: int) -> None:
        num_cores = len(os.sched_getaffinity(0))
        self._scorer = Scorer(job, num_threads=max(1, num_cores // actors_per_node))
        self._metrics = ScorerMetrics(RaySender(job.plan.bundle.version))
        Thread(target=self._warm_up, daemon=True).start()

    def _warm_up(self) -> None:
        """Load; a failure comes again with each shard, which can report its reason."""
        with suppress(Exception):
            self._scorer.model()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score one shard; Ray calls this for each block."""
        scored = self._scorer(from_batch(batch))
        self._metrics.add(scored)
        return to_batch(scored)


def write_batch(batch: pa.Table, job: ScoringJob) -> pa.Table:
    """Put part and receipt of one shard, as a Ray task."""
    return result_batch(write(from_batch(batch), job))


class RayExecutor:
    """Scores on the cluster that this process has joined."""

    def __init__(self, settings: ScoreSettings) -> None:
        self._settings = settings

    def run(
        self, job: ScoringJob, shards: list[Shard], *, alone: bool = False
    ) -> Iterator[ShardResult]:
        """Yield results as tasks end; ExecutorStalledError where none ends in time."""
        timeout_s = self._settings.no_progress_timeout_s
        gc.collect()  # errors of lost shards hold the actors of the pass before, and these CPUs
        pool = size_actors(self._settings, len(shards))
        nodes = living_nodes().keys()
        up_to = "up to " if job.plan.use_gpu else ""
        num_shards = count_of(len(shards), "shard")
        actors = count_of(pool.num_actors, "actor")
        log.info("scores %s in %s%s", num_shards, up_to, actors)
        in_flight = 1 if alone else IN_FLIGHT[job.plan.use_gpu]
        results = _graph(job, shards, pool, in_flight)
        # a shard lost with its process stops no other
        results.context.max_errored_blocks = -1
        results.context.execution_no_progress_timeout_s = timeout_s
        try:
            for row in results.iter_rows():
                yield result_of(row)
        except ExecutionTimeoutError as error:
            raise ExecutorStalledError(
                f"no shard made progress for {timeout_s:g} s"
                " (no_progress_timeout_s). Storage or a node does not"
                " answer, the cluster lacks CPUs or GPUs, or a shard takes"
                " longer (shard_rows)",
                nodes_changed=nodes != living_nodes().keys(),
            ) from error
        except ray.exceptions.RayTaskError as error:
            # outside of the stages, whose exceptions come back as data
            trace = last_lines(error)
            log.warning("a task of Ray failed: %s", trace[-1], extra={"lines": trace})
            raise ExecutorStalledError(f"a task failed: {trace[-1]}") from error
        except ray.exceptions.RayError as error:
            raise ExecutorStalledError(one_line(error)) from error


def _graph(
    job: ScoringJob, shards: list[Shard], pool: ActorPool, in_flight: int
) -> ray.data.Dataset:
    task = {"fn_kwargs": {"job": job}, **WHOLE_BLOCKS, **TASK_RETRIES}
    # A shard whose actor dies waits for the next pass, not for an actor that may find no node to
    # restart on.
    actor = {"max_restarts": -1, "max_task_retries": 0, **WHOLE_BLOCKS}
    if job.plan.use_gpu:
        # a batch of one row is a whole block too, and Ray Data wants a number with a GPU
        actor |= {"num_gpus": 1, "batch_size": 1}
    return (
        ray.data.from_arrow([to_batch(ShardItem(shard)) for shard in shards])
        .map_batches(encode_batch, num_cpus=ENCODE_CPUS[job.plan.use_gpu], **task)
        .map_batches(
            ScorerActor,
            fn_constructor_args=(job, pool.per_node),
            # As many as may run: those without a node wait, which is what an autoscaler starts
            # nodes for. A pool that Ray Data itself may shrink would take them back.
            compute=ray.data.ActorPoolStrategy(
                size=pool.num_actors,
                max_tasks_in_flight_per_actor=in_flight,
                max_concurrent_calls_per_actor=in_flight,
                enable_true_multi_threading=in_flight > 1,
            ),
            num_cpus=pool.cpus,
            **actor,
        )
        .map_batches(write_batch, num_cpus=WRITE_CPUS, **task)
    )

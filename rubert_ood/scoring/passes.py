"""The Ray Data graph of a run: encode -> score -> write, one block per shard all the way.

Neighbouring stages ask for different num_cpus on purpose: Ray fuses stages that ask for the same,
and encoding would then run inside the actor that should be computing.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.data
import ray.exceptions
from ray.data.exceptions import ExecutionTimeoutError

from rubert_ood import interrupts
from rubert_ood.errors import PartialRunError, SettingsError
from rubert_ood.progress import Progress
from rubert_ood.ray_session import TASK_RETRIES, one_line
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.runs.receipts import put_quarantine, read_receipts
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.job import (
    FAULT_CHANGED,
    FAULT_RUN,
    FAULT_SETUP,
    FAULT_SHARD,
    FAULT_UNKNOWN,
    ScoringJob,
    shard_item,
)
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.write import write
from rubert_ood.settings import ScoreSettings

log = logging.getLogger(__name__)

ENCODE_CPUS = 0.25
WRITE_CPUS = 0.2
MAX_LOSSES = 3
LOST = "its process died each time that it was tried: out of memory, or a crash in native code"


@dataclass
class Pass:
    """What became of the shards of one pass over the graph."""

    done: set[str] = field(default_factory=set)
    faults: dict[str, tuple[str, str]] = field(default_factory=dict)
    """shard id -> (fault, reason)"""
    stalled: str = ""
    """Why the pass ended before its shards did."""


def score_shards(plan: Plan, todo: list[Shard], settings: ScoreSettings, claim: Claim) -> None:
    """Score shards in passes, until each has its receipt or is set aside with its reason.

    A shard that gets lost with its process (out of memory, a crash in native code, a dead node)
    enters the next pass; lost in three passes, it is set aside. Raises PartialRunError when the run
    stops half-way, or when another start holds it by now; what is done stays done, and the same
    call goes on from there.
    """
    num_shards = len(plan.shards)
    if len(todo) < num_shards:
        log.info("score     %d of %d shards are done already", num_shards - len(todo), num_shards)
    progress = Progress(
        "score", plan.num_rows, "ads", done=plan.num_rows - sum(shard.num_rows for shard in todo)
    )
    losses, unreadable, aside = Counter[str](), list[str](), list[str]()
    while todo:
        outcome = _score_once(plan, todo, settings, progress, claim)
        left = [shard for shard in todo if shard.shard_id not in outcome.done]
        if left:  # a receipt may be there although its message was lost on the way
            receipts = read_receipts(plan.run_uri, plan.fingerprint)
            left = [shard for shard in left if shard.shard_id not in receipts]
        todo = []
        for shard in left:
            fault, reason = outcome.faults.get(
                shard.shard_id, (FAULT_UNKNOWN, f"{shard.uri}: {LOST}")
            )
            losses[shard.shard_id] += not outcome.stalled
            if fault == FAULT_SHARD and settings.on_bad_file == "fail":
                unreadable.append(reason)
            elif fault in (FAULT_SHARD, FAULT_CHANGED) or losses[shard.shard_id] == MAX_LOSSES:
                put_quarantine(plan, shard, reason)
                log.warning("score     shard %s is set aside: %s", shard.shard_id, reason)
                aside.append(reason)
            else:
                todo.append(shard)
        if len(aside) > settings.max_failed_shards:
            raise PartialRunError(
                f"more than max_failed_shards ({settings.max_failed_shards}) failed: {aside[-1]}"
            )
        if outcome.stalled and not outcome.done and len(todo) == len(left):
            raise PartialRunError(
                f"{plan.run_uri}: {outcome.stalled}; the same command goes on from there"
            )
        if todo:
            log.warning(
                "score     %d shard(s) did not come back, tried again  %s",
                len(todo),
                outcome.stalled,
            )
    if unreadable:
        num_done = num_shards - len(unreadable) - len(aside)
        raise PartialRunError(
            f"{num_done} of {num_shards} shards are scored; mend the file, or set on_bad_file to"
            f" quarantine, and the same command goes on from there: {unreadable[0]}"
        )


def _score_once(
    plan: Plan, todo: list[Shard], settings: ScoreSettings, progress: Progress, claim: Claim
) -> Pass:
    """Send shards through the graph once.

    Raises PartialRunError when a fault will meet the others as well, SettingsError when every start
    would meet it.
    """
    outcome = Pass()
    rows = {shard.shard_id: shard.num_rows for shard in todo}
    try:
        for result in _results(plan, todo, settings, claim):
            name, fault = result["shard_id"], result["fault"]
            if fault == FAULT_SETUP:
                raise SettingsError(f"the run stops, and would stop again: {result['failure']}")
            if fault == FAULT_RUN:
                claim.check(now=True)  # the plainer words, if that is the fault
                raise PartialRunError(
                    f"the run stops, the same command goes on from there: {result['failure']}"
                )
            if fault == FAULT_CHANGED and settings.on_bad_file == "fail":
                raise PartialRunError(result["failure"])
            if fault:
                outcome.faults[name] = (fault, result["failure"])
            else:
                outcome.done.add(name)
                progress.add(rows[name])
            claim.check()
            interrupts.raise_received()
    except ExecutionTimeoutError:
        outcome.stalled = (
            f"no shard moved for {settings.no_progress_timeout_s:g} s (no_progress_timeout_s):"
            " storage or a node does not answer, the cluster lacks what the actors ask for, or one"
            " shard takes longer (shard_rows)"
        )
    except ray.exceptions.RayError as error:
        outcome.stalled = one_line(error)
    return outcome


def _results(
    plan: Plan, todo: list[Shard], settings: ScoreSettings, claim: Claim
) -> Iterator[dict[str, Any]]:
    """Build the graph; yield what it says of each shard as it comes out."""
    num_actors, actor_cpus, per_node = _size_actors(settings, len(todo))
    job = ScoringJob.of(
        plan, token_budget=plan.token_budget, actors_per_node=per_node, runner=claim.token
    )
    log.info("score     %d actor(s), %d shards", num_actors, len(todo))
    items = [shard_item(shard) for shard in todo]
    task = {"fn_kwargs": {"job": job}, **TASK_RETRIES}
    # A shard whose actor dies waits for the next pass, not for an actor that may find no node to
    # restart on.
    actor = {"max_restarts": -1, "max_task_retries": 0} | (
        {"num_gpus": 1} if settings.use_gpu else {}
    )
    results = (
        ray.data.from_items(items, override_num_blocks=len(items))
        .map(encode, num_cpus=ENCODE_CPUS, **task)
        .map(
            Scorer,
            fn_constructor_args=(job,),
            # one at a time: a shard that kills the actor must not take another with it
            compute=ray.data.ActorPoolStrategy(size=num_actors, max_tasks_in_flight_per_actor=1),
            num_cpus=actor_cpus,
            **actor,
        )
        .map(write, num_cpus=WRITE_CPUS, **task)
    )
    results.context.max_errored_blocks = -1  # a shard that is lost with its process stops no other
    results.context.execution_no_progress_timeout_s = settings.no_progress_timeout_s
    yield from results.iter_rows()


def _size_actors(settings: ScoreSettings, num_shards: int) -> tuple[int, float, int]:
    """Return the number of actors, the logical CPUs of each, and how many share a node.

    One actor per node with all its threads beats several with fewer. It asks for all logical CPUs
    of the node but those of one encode and one write: with less, a second actor that lost its own
    node could move in and take their room, and the run would wait for ever.
    """
    nodes = _living_nodes()
    if settings.use_gpu:
        num_gpus = settings.num_actors or int(sum(node.get("GPU", 0) for node in nodes))
        if num_gpus == 0:
            raise SettingsError(
                "use_gpu: no GPU in the cluster yet; give num_actors, then the autoscaler starts"
                " them"
            )
        return min(num_gpus, num_shards), 1, 1
    deadline = time.monotonic() + settings.no_progress_timeout_s
    while not (
        workers := [node["CPU"] for node in nodes if node.get("CPU", 0) >= 1]
    ):  # all died, or none came yet
        if time.monotonic() > deadline:
            raise PartialRunError(
                "no node of the cluster has a CPU for work; the same command goes on from there"
            )
        time.sleep(1)
        nodes = _living_nodes()
    num_actors = min(settings.num_actors or len(workers), num_shards)
    per_node = -(-num_actors // len(workers))
    actor_cpus = (min(workers) - ENCODE_CPUS - WRITE_CPUS) / per_node
    return num_actors, math.floor(100 * actor_cpus) / 100, per_node


def _living_nodes() -> list[dict[str, float]]:
    """Return the resources of each node that lives."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]

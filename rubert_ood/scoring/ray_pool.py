"""How many actors score, what each asks for, and the wait for the first node.

An actor without a place waits in Ray's queue, and that is what an autoscaler starts nodes for. So a
pool as large as the cluster may become asks for its nodes itself, starts with the first that
comes, uses those that come later, asks for successors of those that go, and asks for nothing any
more once its job has ended, in whatever way. `request_resources` would outlive a killed job, and
Ray Data overwrites it every 20 s.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from rubert_ood.errors import PartialRunError, SettingsError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import is_own_cluster
from rubert_ood.settings import ScoreSettings

log = StepLog("score")

ENCODE_CPUS = {True: 0.7, False: 0.25}
"""Of an encode task, by use_gpu. Beside a GPU all cores encode, in some more tasks than cores,
since a task also waits for storage; more still would only import torch at the same time. Without a
GPU the network has the cores, and a few tasks keep up with it."""
WRITE_CPUS = 0.2
GPU_ACTOR_CPUS = 0.1
"""Beside its GPU: little, so that a node of few CPUs has room for the other stages."""
GPUS_TO_ASK_FOR = 8
"""Where compute.num_workers says nothing; an autoscaler gives what its node types allow."""
SMALLEST_CPUS = 0.01
"""Less is none for Ray, and all actors could meet on one node."""
POLL_S = 1.0
SAY_EVERY_S = 15.0

Resources = dict[str, float]


@dataclass(frozen=True)
class ActorPool:
    """How many scorers run, and what each gets of its node."""

    num_actors: int
    """The most that run at a time: each starts when there is a node for it."""
    cpus: float
    """Logical CPUs that each asks for."""
    per_node: int
    """Actors that share the cores of a node."""


def size_actors(settings: ScoreSettings, num_shards: int) -> ActorPool:
    """Size the pool for the nodes that are there; wait where none of them can score.

    Raises SettingsError where no GPU can come, PartialRunError where the wait ends.

    Without GPUs one actor per node with all its threads beats several with fewer. It asks for all
    logical CPUs of the smallest node but those of one encode and one write: with less, a second
    actor that lost its own node could move in and take their room, and the run would wait for ever.
    """
    wanted, timeout_s = settings.compute.num_workers, settings.no_progress_timeout_s
    if settings.compute.use_gpu:
        return _gpu_actors(settings, num_shards)
    nodes = wait_for_nodes({"CPU": 1}, wanted or 1, timeout_s)
    num_actors = min(wanted or len(nodes), num_shards)
    per_node = -(-num_actors // len(nodes))
    smallest = min(node["CPU"] for node in nodes)
    cpus = math.floor(100 * (smallest - ENCODE_CPUS[False] - WRITE_CPUS) / per_node) / 100
    return ActorPool(num_actors, max(SMALLEST_CPUS, cpus), per_node)


def _gpu_actors(settings: ScoreSettings, num_shards: int) -> ActorPool:
    """Take what the cluster gives: what its autoscaler may start is nowhere to be read."""
    place = {"GPU": 1, "CPU": GPU_ACTOR_CPUS}
    if is_own_cluster(settings) and not _nodes_with(place):
        raise SettingsError(
            "compute.use_gpu: this machine has no GPU. Use a cluster with"
            " GPUs in ray_address, or set compute.use_gpu to false"
        )
    there = int(sum(node.get("GPU", 0) for node in living_nodes().values()))
    most = settings.compute.num_workers or max(there, GPUS_TO_ASK_FOR)
    num_actors = min(most, num_shards)
    wait_for_nodes(place, num_actors, settings.no_progress_timeout_s)
    return ActorPool(num_actors, GPU_ACTOR_CPUS, per_node=1)


def wait_for_nodes(place: Resources, count: int, timeout_s: float) -> list[Resources]:
    """Return what each node has that has a `place`; where none has, ask for `count` and wait.

    Raises PartialRunError when no node came or went for timeout_s.
    """
    found = _nodes_with(place)
    if found:
        return found
    with _asked_for(place, count):
        return _wait(place, count, timeout_s)


@contextmanager
def _asked_for(place: Resources, count: int) -> Iterator[None]:
    """Let an autoscaler see what is wanted; Ray forgets it with this process."""
    groups = [placement_group([place]) for _ in range(count)]
    try:
        yield
    finally:
        for group in groups:
            remove_placement_group(group)


def _wait(place: Resources, count: int, timeout_s: float) -> list[Resources]:
    kind = "GPU" if "GPU" in place else "CPU"
    nodes, changed_at, said_at = set[str](), time.monotonic(), -math.inf
    while not (found := _nodes_with(place)):
        now = time.monotonic()
        if nodes != living_nodes().keys():
            nodes, changed_at = set(living_nodes()), now
        if now - changed_at > timeout_s:
            raise PartialRunError(
                f"no node of the cluster has a free {kind}, and none came or"
                f" went for {timeout_s:g} s (no_progress_timeout_s). Add a"
                " node, then run the same command again to resume"
            )
        if now - said_at > SAY_EVERY_S:
            said_at = now
            left_s = timeout_s - (now - changed_at)
            log.info(
                "waits for the first of %s (%s without, %.0f s left)",
                count_of(count, kind),
                count_of(len(nodes), "node"),
                left_s,
            )
        time.sleep(POLL_S)
    return found


def _nodes_with(place: Resources) -> list[Resources]:
    def has_place(node: Resources) -> bool:
        return all(node.get(name, 0) >= count for name, count in place.items())

    return [node for node in living_nodes().values() if has_place(node)]


def living_nodes() -> dict[str, Resources]:
    """Return the resources of each node that lives, by its id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}

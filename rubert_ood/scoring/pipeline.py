"""The Ray Data graph of a run: encode -> score -> write, one block per shard all the way.

Neighbouring stages ask for different num_cpus on purpose: Ray fuses stages that ask for the same, and encoding would
then run inside the actor that should be computing.
"""

import logging
import re

import ray
import ray.data
import ray.exceptions

from rubert_ood.cluster import ACTOR_RETRIES, TASK_RETRIES
from rubert_ood.errors import PartialRunError, SettingsError
from rubert_ood.progress import Progress
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.ledger import read_receipts
from rubert_ood.scoring.payload import ScoringJob, shard_item
from rubert_ood.scoring.plan import Plan
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.write import write
from rubert_ood.settings import ScoreSettings

log = logging.getLogger(__name__)

ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ENCODE_CPUS = 0.5
WRITE_CPUS = 0.25


def score_shards(plan: Plan, settings: ScoreSettings) -> None:
    """Score the shards that have no receipt yet.

    Raises PartialRunError when it stops half-way; what is done stays done, and the same call goes on from there.
    """
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    todo = [shard for shard in plan.shards if shard.shard_id not in receipts]
    if receipts:
        log.info("score     %d of %d shards are done already", len(plan.shards) - len(todo), len(plan.shards))
    if not todo:
        return
    num_actors, actor_cpus, per_node = _size_actors(settings, len(todo))
    job = ScoringJob.of(plan, token_budget=settings.token_budget, actors_per_node=per_node)
    log.info("score     %d actor(s), %d shards", num_actors, len(todo))
    items = [shard_item(shard) for shard in todo]
    task = {"fn_kwargs": {"job": job}, **TASK_RETRIES}
    actor = ACTOR_RETRIES | ({"num_gpus": 1} if settings.use_gpu else {})
    results = (
        ray.data.from_items(items, override_num_blocks=len(items))
        .map(encode, num_cpus=ENCODE_CPUS, **task)
        .map(
            Scorer,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(size=num_actors),
            num_cpus=actor_cpus,
            **actor,
        )
        .map(write, num_cpus=WRITE_CPUS, **task)
    )
    progress = Progress("score", plan.num_rows, "ads", done=plan.num_rows - sum(shard.num_rows for shard in todo))
    num_done, failures = len(plan.shards) - len(todo), []
    try:
        for result in results.iter_rows():
            if result["failure"]:
                failures.append(result["failure"])
                log.warning("score     shard failed: %s", result["failure"])
            num_done += not result["failure"]
            progress.add(result["rows"])
    except ray.exceptions.RayError as error:
        failures.append(" ".join(ANSI_COLOUR.sub("", str(error)).split())[-500:])
    if failures:
        raise PartialRunError(
            f"{num_done} of {len(plan.shards)} shards are scored; the same command goes on from there: {failures[0]}"
        )


def _size_actors(settings: ScoreSettings, num_shards: int) -> tuple[int, float, int]:
    """Return the number of actors, the logical CPUs of each, and how many share a node.

    One actor per node with all its threads beats several with fewer; its logical CPUs leave room on the node for
    encode and write, without which the run would wait for ever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if settings.use_gpu:
        num_gpus = settings.num_actors or int(sum(node.get("GPU", 0) for node in nodes))
        if num_gpus == 0:
            raise SettingsError("use_gpu: no GPU in the cluster yet; give num_actors, then the autoscaler starts them")
        return min(num_gpus, num_shards), 1, 1
    workers = [node["CPU"] for node in nodes if node.get("CPU", 0) >= 1]
    if not workers:
        raise SettingsError("no node of the cluster has a CPU for work")
    num_actors = min(settings.num_actors or len(workers), num_shards)
    per_node = -(-num_actors // len(workers))
    room = min(workers) - ENCODE_CPUS - WRITE_CPUS
    actor_cpus = min(room, min(workers) - 1 or room) / per_node
    return num_actors, round(actor_cpus, 2), per_node

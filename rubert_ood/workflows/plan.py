"""Check the input of a scoring job and say what a run would do, and how long it would take; nothing
is written."""

import os

from rubert_ood.bundle import Bundle
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.publishing.reused import with_reuse
from rubert_ood.runs.cost import cost_of
from rubert_ood.runs.plan import Plan
from rubert_ood.scoring.check_input import check_input
from rubert_ood.scoring.estimate import Estimate, estimate
from rubert_ood.settings import PlanSettings

log = StepLog("estimate")


def plan(settings: PlanSettings) -> Plan:
    """Print the plan of a run and an estimate of its time."""
    run_plan, bundle = check_input(settings)
    run_plan = with_reuse(run_plan, settings)
    if settings.estimate_s:
        _estimate(run_plan, bundle, settings)
    return run_plan


def _estimate(run_plan: Plan, bundle: Bundle, settings: PlanSettings) -> None:
    measured = estimate(run_plan, bundle, for_s=settings.estimate_s)
    if measured is None:
        log.warning("gives no estimate, because no row could be read")
        return
    num_cores = count_of(len(os.sched_getaffinity(0)), "core")
    device = "GPU" if run_plan.use_gpu else num_cores
    log.info(
        f"{measured.ads_per_s:,.1f} ads/s in {run_plan.precision} on this"
        f" machine ({device}), measured on {measured.num_ads:,} ads of"
        f" {measured.tokens_per_ad:.1f} tokens"
    )
    log.info("%s", _bottleneck(measured))
    num_nodes = settings.compute.num_workers or 1
    num_tokens = run_plan.num_rows * measured.tokens_per_ad
    hours = run_plan.num_rows / measured.ads_per_s / num_nodes / 3600
    work = f"{run_plan.num_rows:,} ads, about {num_tokens:,.0f} tokens"
    log.info(
        f"the run takes {_duration(hours)} on {count_of(num_nodes, 'such node')},"
        f" {_duration(hours / 10)} on {10 * num_nodes}"
        f" ({work}, {count_of(len(run_plan.shards), 'shard')})"
    )
    price = cost_of(hours * num_nodes * 3600, settings.price)
    if price:
        per_hour = f"{price.per_node_hour:g} {price.currency}"
        log.info(
            f"the run costs about {price.text} for compute, at {per_hour} a node-hour"
        )
    if run_plan.reuse:
        left = run_plan.num_rows / measured.ads_per_s_with_reuse / num_nodes / 3600
        num_reused = run_plan.num_rows * measured.reused_share
        StepLog("reuse").info(
            f"reuse leaves {_duration(left)} on {count_of(num_nodes, 'such node')}:"
            f" {measured.reused_share:.1%} of the texts (about {num_reused:,.0f} ads)"
            f" are in the index of {run_plan.reuse.run_uri}"
        )


def _bottleneck(measured: Estimate) -> str:
    """Say what takes how long, which of the two the run waits for, and how many cores help."""
    encode_ms, network_ms = 1000 * measured.encode_core_s, 1000 * measured.network_s
    cores = count_of(measured.cores, "core")
    place = "the GPU" if measured.use_gpu else cores
    found = (
        f"{measured.bottleneck} is the bottleneck (encoding takes {encode_ms:,.3f} ms"
        f" per ad on one core, the network {network_ms:,.3f} ms on {place})"
    )
    if not measured.use_gpu:
        return found
    return (
        f"{found}. Each GPU has {cores} for encoding,"
        f" and needs {measured.wanted_cores}, and one for its actor"
    )


def _duration(hours: float) -> str:
    if hours < 0.1:
        return f"{hours * 3600:,.0f} s"
    return f"{hours * 60:,.0f} min" if hours < 2 else f"{hours:,.1f} h"

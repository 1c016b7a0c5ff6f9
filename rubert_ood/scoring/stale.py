"""Shards that took results over before reuse was stopped: they are scored again."""

from rubert_ood import storage
from rubert_ood.progress import StepLog
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.runs.receipts import read_quarantine, read_receipts, receipt_uri
from rubert_ood.runs.reuse import find_stop

log = StepLog("reuse")


def stale_shards(plan: Plan) -> list[Shard]:
    """Return the shards that are to be scored again, and say why reuse was stopped."""
    stop = find_stop(plan.run_uri) if plan.reuse else None
    if stop is None:
        return []
    log.warning(
        "stopped reuse and scores every text: of %d checked results of %s %d differ (%s)",
        stop.texts_checked,
        stop.reused_uri,
        stop.texts_mismatched,
        stop.reason,
    )
    settled = set(read_receipts(plan.run_uri, plan.fingerprint))
    for name in read_quarantine(plan.run_uri, plan.fingerprint):
        # one that was scored after that has a receipt, which may count no more
        if not storage.exists(receipt_uri(plan.run_uri, name)):
            settled.add(name)
    return [shard for shard in plan.shards if shard.shard_id not in settled]

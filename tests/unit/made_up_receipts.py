"""Plans and receipts of shards that nobody has scored, for what is decided by them alone."""

from rubert_ood import storage
from rubert_ood.runs.part_counts import CONFIDENCE_BINS
from rubert_ood.runs.plan import BundleName, Plan, Shard
from rubert_ood.runs.profile import ShardProfile
from rubert_ood.runs.receipts import Receipt, receipt_uri

FINGERPRINT = "f" * 64


def a_plan(output_uri: str, num_shards: int) -> Plan:
    """Shards of ten rows in one file."""
    shards = [
        Shard(f"{n:05d}-ab", "in/a.csv", {}, 10 * n, 10 * n + 10)
        for n in range(num_shards)
    ]
    return Plan(
        run_uri=storage.join(output_uri, "run_date=2026-11-24", "run_id=x"),
        run_id="x",
        run_date="2026-11-24",
        fingerprint=FINGERPRINT,
        identity={},
        bundle=BundleName(fingerprint="b" * 64),
        input_uri="/in",
        output_uri=output_uri,
        carry_columns=[],
        embedding=False,
        use_gpu=False,
        precision="fp32",
        token_budget=100,
        shards=shards,
        quarantined=[],
        empty_files=[],
        input_bytes=1000,
    )


def a_receipt(plan: Plan, number: int, **changes: object) -> Receipt:
    """The receipt of a shard of which every row was scored."""
    shard = plan.shards[number]
    values = {
        "format": 2,
        "shard_id": shard.shard_id,
        "fingerprint": FINGERPRINT,
        "uri": shard.uri,
        "start": shard.start,
        "stop": shard.stop,
        "rows_in": 10,
        "rows_scored": 10,
        "rows_empty": 0,
        "rows_ood": number,
        "rows_cut": 0,
        "rows_rejected": 0,
        "rejected_reasons": {},
        "classes": {"Шины": 10},
        "confidence_histogram": [number] * CONFIDENCE_BINS,
        "unique_texts": 6,
        "tokens": 100,
        "unique_tokens": 80,
        "ids_in": number,
        "ids_out": number,
        "ids_rejected": 0,
        "profile": ShardProfile(),
        "part_sha256": f"{number:064x}",
        "seconds": 9.5,
        "scorer_busy_s": 3.0,
        "scorer_idle_s": 1.0,
        "finished_at": "2026-11-24T03:00:00.000+00:00",
    }
    return Receipt.model_validate(values | changes)


def put_receipt(plan: Plan, receipt: Receipt) -> None:
    """Write a receipt into the run folder."""
    storage.put_json(receipt_uri(plan.run_uri, receipt.shard_id), receipt)

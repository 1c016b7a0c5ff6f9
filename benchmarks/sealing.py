"""Seal and verify parts of random rows, without a model: python -m benchmarks.sealing

How long each takes, in this process, how large the files are, and how much memory it needs. Prints
JSON.
"""

import argparse
import json
import logging
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.floor import machine
from rubert_ood import storage
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.part import ERROR_SCHEMA, ids_digest, part_schema, to_parquet
from rubert_ood.runs.plan import BundleName, Plan, Shard, save_plan
from rubert_ood.runs.profile import ShardProfile, token_histogram
from rubert_ood.runs.receipts import (
    Timing,
    Written,
    make_receipt,
    read_receipts,
    receipt_uri,
)
from rubert_ood.runs.verify import verify_run
from rubert_ood.sealing.seal_run import seal_run
from rubert_ood.settings import ScoreSettings, SortBy

LABELS = [f"Категория {number}" for number in range(50)]


def make_plan(folder: str, num_parts: int, rows: int, sort_by: SortBy) -> Plan:
    shards = []
    for number in range(num_parts):
        start = number * rows
        shard_id = f"{number:06d}-{start:08x}"
        shards.append(Shard(shard_id, "/in/a.parquet", {}, start, start + rows))
    return Plan(
        run_uri=f"{folder}/out/run_date=2026-11-24/run_id=r",
        run_id="r",
        run_date="2026-11-24",
        fingerprint="f" * 64,
        identity={},
        bundle=BundleName(uri="/b", version="v", fingerprint="b" * 64),
        input_uri="/in",
        output_uri=f"{folder}/out",
        carry_columns=[],
        embedding=False,
        use_gpu=False,
        precision="fp32",
        token_budget=1,
        shards=shards,
        quarantined=[],
        empty_files=[],
        input_bytes=1,
        target_file_mb=128,
        sort_by=sort_by,
    )


def random_part(plan: Plan, shard: Shard) -> pa.Table:
    """Return a part as the small shape writes one: about 77 bytes a row, packed."""
    rng, rows = np.random.default_rng(shard.start), shard.num_rows
    metadata = {
        "bundle": plan.bundle.fingerprint,
        "run_id": plan.run_id,
        "code_version": "x",
    }
    best = rng.choice(LABELS, (rows, 5))
    tokens = rng.integers(5, 196, rows)
    columns = {
        "ad_id": [
            f"{number:010d}" for number in rng.permutation(rows) * 7 + shard.start * 7
        ],
        "label": best[:, 0],
        "confidence": rng.random(rows),
        "topk_labels": best.tolist(),
        "topk_scores": rng.random((rows, 5)).tolist(),
        "is_ood": rng.random(rows) < 0.01,
        "ood_distance": rng.random(rows) * 300,
        "ood_z": rng.random(rows),
        "ood_p": rng.random(rows),
        "status": ["ok"] * rows,
        "num_tokens": tokens,
        "num_chunks": [1] * rows,
        "is_cut": tokens > 190,
        "text_key": [rng.bytes(16).hex() for _ in range(rows)],
        "scored_in": [plan.run_id] * rows,
    }
    schema = part_schema([], None, metadata)
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def write(plan: Plan) -> None:
    """Put part and receipt of each shard."""
    for shard in plan.shards:
        part = random_part(plan, shard)
        written = Written(part, to_parquet(part))
        receipt = make_receipt(
            shard,
            written,
            ERROR_SCHEMA.empty_table(),
            ids_in=ids_digest(part["ad_id"]),
            fingerprint=plan.fingerprint,
            timing=Timing(time.time(), 0, 0),
            profile=ShardProfile(
                token_histogram=token_histogram(part["num_tokens"].to_numpy())
            ),
        )
        storage.put_bytes(plan.part_uri(shard), written.data)
        storage.put_json(receipt_uri(plan.run_uri, shard.shard_id), receipt)


def measure(folder: str, num_parts: int, rows: int, sort_by: SortBy) -> dict[str, object]:
    plan = make_plan(folder, num_parts, rows, sort_by)
    save_plan(plan)
    write(plan)
    started = time.perf_counter()
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    read_s = time.perf_counter() - started
    settings = ScoreSettings(
        input_uri="/in", bundle_uri="/b", output_uri=plan.output_uri, executor="local"
    )
    claim = Claim(plan.run_uri)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    seal_run(plan, receipts, settings, claim)
    seal_s = time.perf_counter() - started
    seal_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    verified = verify_run(plan, receipts)
    verify_s = time.perf_counter() - started
    num_rows = num_parts * rows
    part_bytes = sum(receipt.part_bytes for receipt in receipts.values())
    return {
        "parts": num_parts,
        "rows": num_rows,
        "sort_by": sort_by,
        "part_kb": round(part_bytes / num_parts / 1000, 1),
        "file_mb": [round(file.bytes / 1e6, 1) for file in verified.files],
        "of_parts": round(sum(file.bytes for file in verified.files) / part_bytes, 3),
        "read_receipts_s": round(read_s, 2),
        "seal_s": round(seal_s, 2),
        "seal_us_per_row": round(1e6 * seal_s / num_rows, 2),
        "verify_s": round(verify_s, 2),
        "verify_us_per_row": round(1e6 * verify_s / num_rows, 2),
        "peak_mb": {
            "before": round(before_mb),
            "sealed": round(seal_mb),
            "verified": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--sort_by", choices=["none", "ad_id"], default="none")
    arguments = parser.parse_args()
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            str(Path(folder)), arguments.parts, arguments.rows, arguments.sort_by
        )
    print(json.dumps({"machine": machine(), **found}, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()

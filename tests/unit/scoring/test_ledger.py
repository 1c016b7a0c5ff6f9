from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rubert_ood import __version__
from rubert_ood.scoring.ledger import (
    make_manifest,
    put_manifest,
    read_manifest,
    read_receipts,
)

STARTED = "2026-11-24T03:00:00+00:00"


def _digest(ids) -> int:
    return sum(int(pd.util.hash_array(np.array([value], object))[0]) for value in ids) % 2**64


def test_the_counts_of_a_receipt_by_brute_force(full_run):
    for number, receipt in enumerate(full_run.receipts):
        rows = pq.read_table(full_run.part(number)).to_pylist()
        histogram = [0] * 20
        for row in rows:
            if row["confidence"] is not None:
                histogram[min(int(row["confidence"] * 20), 19)] += 1
        texts = {row["text_key"]: row["num_tokens"] for row in rows}
        expected = {
            "rows_scored": len(rows),
            "rows_empty": sum(row["status"] == "empty" for row in rows),
            "rows_ood": sum(row["is_ood"] for row in rows),
            "rows_cut": sum(row["is_cut"] for row in rows),
            "classes": dict(Counter(row["label"] for row in rows)),
            "confidence_histogram": histogram,
            "unique_texts": len(texts),
            "tokens": sum(row["num_tokens"] for row in rows),
            "unique_tokens": sum(texts.values()),
            "ids_out": _digest(row["ad_id"] for row in rows),
        }
        assert {name: receipt[name] for name in expected} == expected


def test_the_manifest_adds_up_to_the_whole_catalogue(full_run, messy_rows):
    plan = full_run.plan
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    manifest = make_manifest(plan, receipts, outcome="complete", started_at=STARTED)
    rows = [row for n in range(len(plan.shards)) for row in pq.read_table(full_run.part(n)).to_pylist()]
    errors = [row for path in (full_run.folder / "_errors").iterdir() for row in pq.read_table(path).to_pylist()]
    labels = Counter(row["label"] for row in rows)
    assert manifest["counts"] == {
        "rows_in": 120,
        "rows_planned": 120,
        "rows_scored": len(rows),
        "rows_rejected": len(errors),
        "rows_empty": 15,
        "rows_ood": sum(row["is_ood"] for row in rows),
        "rows_other": labels["Other"],
        "rows_cut": sum(row["is_cut"] for row in rows),
        "unique_texts": sum(receipt["unique_texts"] for receipt in full_run.receipts),
        "tokens": sum(row["num_tokens"] for row in rows),
        "unique_tokens": sum(receipt["unique_tokens"] for receipt in full_run.receipts),
        "rows_quarantined": 0,
        "bytes_in": sum(Path(shard.uri).stat().st_size for shard in plan.shards if shard.start == 0),
        "bytes_quarantined": 0,
    }
    assert len(rows) + len(errors) == 120
    assert labels["Other"] > 15
    assert manifest["counts"]["rows_cut"] >= 3
    assert manifest["counts"]["unique_texts"] < len(rows)
    assert manifest["classes"] == dict(labels)
    assert list(manifest["classes"].values()) == sorted(labels.values(), reverse=True)
    assert manifest["rejected_reasons"] == dict(Counter(error["reason"] for error in errors))
    assert sum(manifest["confidence_histogram"]) == len(rows) - 15
    ids = [row["ad_id"] for row in messy_rows if isinstance(row["ad_id"], str)]
    rejected = [error["ad_id"] for error in errors if error["ad_id"] is not None]
    assert (manifest["ids_in"], manifest["ids_rejected"]) == (_digest(ids), _digest(rejected))
    assert manifest["ids_out"] == _digest(row["ad_id"] for row in rows)
    for shard, receipt, stored in zip(plan.shards, full_run.receipts, manifest["shards"], strict=True):
        assert stored["shard_id"] == shard.shard_id
        for name in ("rows_in", "rows_scored", "rows_rejected", "ids_in", "ids_out", "classes", "part_sha256"):
            assert stored[name] == receipt[name]
    for name in ("run_id", "run_date", "run_uri", "fingerprint", "bundle", "input_uri", "output_uri", "quarantined"):
        assert manifest[name] == getattr(plan, name)
    assert (manifest["outcome"], manifest["code_version"], manifest["gate"]) == ("complete", __version__, [])


def test_the_manifest_of_a_part_of_the_shards(full_run):
    plan = full_run.plan
    some = {receipt["shard_id"]: receipt for receipt in full_run.receipts[:3]}
    manifest = make_manifest(plan, some, outcome="partial", started_at=STARTED)
    assert manifest["counts"]["rows_in"] == 30
    assert manifest["counts"]["rows_planned"] == 120
    none = make_manifest(plan, {}, outcome="partial", started_at=STARTED)
    assert {value for name, value in none["counts"].items() if name != "bytes_in"} == {0, 120}
    assert (none["classes"], none["ids_in"], none["confidence_histogram"]) == ({}, 0, [0] * 20)


def test_speed_counts_only_the_shards_of_this_start(full_run):
    now = datetime.now(UTC)
    started = (now - timedelta(seconds=100)).isoformat(timespec="seconds")
    older = (now - timedelta(seconds=500)).isoformat(timespec="milliseconds")
    newer = (now - timedelta(seconds=50)).isoformat(timespec="milliseconds")
    receipts = {
        receipt["shard_id"]: receipt | {"finished_at": newer if number < 4 else older}
        for number, receipt in enumerate(full_run.receipts)
    }
    manifest = make_manifest(full_run.plan, receipts, outcome="complete", started_at=started)
    assert manifest["elapsed_s"] == pytest.approx(100, abs=5)
    assert manifest["rows_per_s"] == pytest.approx(40 / manifest["elapsed_s"])
    same_second = receipts | {
        r["shard_id"]: r | {"finished_at": started.replace("+00:00", ".001+00:00")} for r in full_run.receipts[:4]
    }
    again = make_manifest(full_run.plan, same_second, outcome="complete", started_at=started)
    assert again["rows_per_s"] == pytest.approx(40 / again["elapsed_s"])


def test_a_manifest_comes_back_from_storage(run):
    manifest = make_manifest(run.plan, {}, outcome="partial", started_at=STARTED)
    put_manifest(manifest)
    assert read_manifest(run.plan.run_uri) == manifest


def test_receipts_of_another_fingerprint_do_not_count(run):
    assert read_receipts(run.plan.run_uri, "0" * 64) == {}
    assert read_receipts(str(run.folder.parent / "nothing"), run.plan.fingerprint) == {}

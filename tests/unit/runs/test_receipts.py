import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from rubert_ood.runs.profile import TOKEN_EDGES, ShardProfile
from rubert_ood.runs.receipts import find_receipt, read_receipts, receipt_uri

STARTED = "2026-11-24T03:00:00+00:00"


def _digest(ids) -> int:
    return (
        sum(int(pd.util.hash_array(np.array([value], object))[0]) for value in ids)
        % 2**64
    )


def test_receipt_counts_equal_brute_force(full_run):
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
        assert {name: getattr(receipt, name) for name in expected} == expected
        lengths, _ = np.histogram(
            [row["num_tokens"] for row in rows], [*TOKEN_EDGES, np.inf]
        )
        assert receipt.profile.token_histogram == lengths.tolist()


def test_without_report_texts_no_record_of_the_run_holds_one(make_run, full_run):
    run = make_run(report_texts=False)
    assert run.plan.report_texts is False
    for receipt, other in zip(run.receipts, full_run.receipts, strict=True):
        assert [ad.ad_id for ad in receipt.profile.top_ood] == [
            ad.ad_id for ad in other.profile.top_ood
        ]
        assert {ad.text for ad in receipt.profile.top_ood} <= {None}
    assert any(ad.text for receipt in full_run.receipts for ad in receipt.profile.top_ood)


def test_a_receipt_of_format_1_is_read_with_its_profile(run):
    """As 0.3.0 writes it: what is in the profile stands at the top level, and 0.2.0 lacks it."""
    (new,) = (receipt for receipt in run.receipts[:1])
    content = new.model_dump()
    content |= content.pop("profile")
    del content["format"]
    path = Path(receipt_uri(run.plan.run_uri, new.shard_id))
    path.write_text(json.dumps(content), "utf-8")
    found = find_receipt(run.plan.run_uri, new.shard_id, run.plan.fingerprint)
    assert found == new.model_copy(update={"format": 1})
    for name in ShardProfile.model_fields:
        del content[name]
    path.write_text(json.dumps(content), "utf-8")
    older = find_receipt(run.plan.run_uri, new.shard_id, run.plan.fingerprint)
    assert older == new.model_copy(update={"format": 1, "profile": ShardProfile()})


def test_receipts_of_another_fingerprint_do_not_count(run):
    assert read_receipts(run.plan.run_uri, "0" * 64) == {}
    assert read_receipts(str(run.folder.parent / "nothing"), run.plan.fingerprint) == {}

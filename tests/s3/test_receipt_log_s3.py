"""Receipts and their copies on a real S3 server, where versions are ETags."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from rubert_ood import storage
from rubert_ood.runs import receipts
from rubert_ood.runs.receipt_batches import batch_uri
from rubert_ood.runs.receipt_log import ReceiptLog
from rubert_ood.runs.receipts import receipt_uri
from rubert_ood.storage.listing import list_below, look_at
from tests.unit.made_up_receipts import FINGERPRINT, a_plan, a_receipt, put_receipt

NUM_SHARDS = 1_050
"""More than a page of a listing, and than a batch; the second batch has too few shards."""


@pytest.fixture
def plan(s3):
    plan = a_plan(f"{s3}/books", NUM_SHARDS)
    with ThreadPoolExecutor(8) as pool:
        made = [a_receipt(plan, number) for number in range(NUM_SHARDS)]
        list(pool.map(lambda receipt: put_receipt(plan, receipt), made))
    return plan


def test_s3_receipts_are_read_from_their_batch_until_one_is_replaced(plan, monkeypatch):
    log = ReceiptLog(plan, lambda: None)
    found = receipts.read_receipts(plan.run_uri, FINGERPRINT, log.fill)
    assert storage.exists(batch_uri(plan.run_uri, 0))
    assert not storage.exists(batch_uri(plan.run_uri, 1))
    expected = {r.shard_id: r for r in (a_receipt(plan, n) for n in range(NUM_SHARDS))}
    assert dict(found) == expected

    again = a_receipt(plan, 7, part_sha256="e" * 64)
    put_receipt(plan, again)
    read, real = [], storage.read_bytes
    monkeypatch.setattr(
        storage, "read_bytes", lambda uri: (read.append(uri), real(uri))[1]
    )
    found = receipts.read_receipts(plan.run_uri, FINGERPRINT)
    assert dict(found) == expected | {again.shard_id: again}
    alone = [7, *range(1_000, NUM_SHARDS)]
    uris = {receipt_uri(plan.run_uri, plan.shards[n].shard_id) for n in alone}
    assert set(read) == uris
    assert len(read) == len(uris)


def test_s3_listing_has_every_page_as_one_look_at_each_object(plan):
    folder = f"{plan.run_uri}/_run/receipts"
    files = list_below(folder).files
    names = [receipt_uri(plan.run_uri, shard.shard_id) for shard in plan.shards]
    assert [file.uri for file in files] == names
    for number in (0, 999, 1_000, NUM_SHARDS - 1):
        assert look_at(names[number]) == files[number]
        assert files[number].size == len(storage.read_bytes(names[number]))
    with pytest.raises(FileNotFoundError):
        look_at(folder)
    with pytest.raises(FileNotFoundError):
        look_at(f"{folder}/none.json")

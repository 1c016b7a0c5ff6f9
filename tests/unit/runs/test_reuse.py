from rubert_ood.runs.receipts import find_receipt, read_receipts
from rubert_ood.runs.reuse import ReuseCounts, ReuseStop, find_stop, stop_reuse
from rubert_ood.storage import put_json

STOP = ReuseStop(
    shard_id="a", reused_uri="r", texts_checked=9, texts_mismatched=2, reason="why"
)


def test_stop_of_reuse_is_noted_once(tmp_path):
    run_uri = str(tmp_path)
    assert find_stop(run_uri) is None
    stop_reuse(run_uri, STOP)
    stop_reuse(run_uri, STOP.model_copy(update={"shard_id": "b"}))
    assert find_stop(run_uri) == STOP


def test_receipts_that_count_reused_texts_do_not_count_once_reuse_is_stopped(run):
    plan = run.plan
    first, second = run.receipts[:2]
    reused = first.model_copy(update={"reuse": ReuseCounts(texts_reused=1)})
    uri = f"{plan.run_uri}/_run/receipts/{first.shard_id}.json"
    put_json(uri, reused)
    assert read_receipts(plan.run_uri, plan.fingerprint)[first.shard_id] == reused
    assert find_receipt(plan.run_uri, first.shard_id, plan.fingerprint) == reused
    stop_reuse(plan.run_uri, STOP)
    found = read_receipts(plan.run_uri, plan.fingerprint)
    assert found == {receipt.shard_id: receipt for receipt in run.receipts[1:]}
    assert find_receipt(plan.run_uri, first.shard_id, plan.fingerprint) is None
    assert find_receipt(plan.run_uri, second.shard_id, plan.fingerprint) == second

"""Receipts copied into batches while a run goes on: what is read is what the receipts say."""

import random
from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.errors import InputError, PartialRunError
from rubert_ood.runs import receipt_log, receipts
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipt_batches import batch_uri
from rubert_ood.runs.receipt_log import ReceiptLog
from rubert_ood.runs.receipts import Receipt, read_receipts, receipt_uri
from tests.conftest import patch_storage
from tests.unit.made_up_receipts import FINGERPRINT, a_plan, a_receipt, put_receipt

BATCH, FEWEST, NUM_SHARDS = 10, 4, 25
"""The last batch has five shards."""


@pytest.fixture
def plan(tmp_path, monkeypatch) -> Plan:
    monkeypatch.setattr(receipt_log, "BATCH_SHARDS", BATCH)
    for module in (receipt_log, receipts):
        monkeypatch.setattr(module, "FEWEST", FEWEST)
    return a_plan(str(tmp_path), NUM_SHARDS)


def _log(plan: Plan, check=lambda: None) -> ReceiptLog:
    log = ReceiptLog(plan, check)
    log.wait_for(plan.shards)
    return log


def _score(plan: Plan, numbers, log: ReceiptLog | None = None) -> dict[str, Receipt]:
    """Put receipts, and tell the log of each."""
    found = {}
    for number in numbers:
        receipt = a_receipt(plan, number)
        put_receipt(plan, receipt)
        found[receipt.shard_id] = receipt
        if log is not None:
            log.add(receipt.shard_id)
    return found


def _batches(plan: Plan) -> list[int]:
    names = Path(plan.run_uri, "_run", "receipt_log").glob("*.receipts")
    return sorted(int(path.stem) for path in names)


def _read(plan: Plan, fill=None) -> dict[str, Receipt]:
    return dict(read_receipts(plan.run_uri, FINGERPRINT, fill))


@pytest.fixture
def receipts_read(monkeypatch) -> list[str]:
    """The receipts that are read one by one from now on."""
    names: list[str] = []
    for function in ("read_bytes", "read_optional"):
        real = getattr(storage, function)

        def watched(uri, real=real):
            if "/receipts/" in uri:
                names.append(uri.rpartition("/")[2].removesuffix(".json"))
            return real(uri)

        monkeypatch.setattr(storage, function, watched)
    return names


@pytest.mark.parametrize("seed", range(3))
def test_add_writes_a_batch_with_its_last_shard_in_any_order(plan, seed, receipts_read):
    order = random.Random(seed).sample(range(NUM_SHARDS), NUM_SHARDS)
    log, done, expected = _log(plan), set(), {}
    for number in order:
        expected |= _score(plan, [number], log)
        done.add(number)
        whole = [n for n in range(3) if {*range(10 * n, min(10 * n + 10, 25))} <= done]
        assert _batches(plan) == whole
    receipts_read.clear()
    assert _read(plan) == expected
    assert receipts_read == []


def test_end_writes_what_waits_for_shards_that_do_not_come(plan, receipts_read):
    log = _log(plan)
    expected = _score(plan, [*range(9), *range(10, 13)], log)
    assert _batches(plan) == []
    log.end()
    assert _batches(plan) == [0]  # three are not worth a batch
    receipts_read.clear()
    assert _read(plan) == expected
    assert receipts_read == [plan.shards[n].shard_id for n in (10, 11, 12)]


def test_a_receipt_that_comes_after_its_batch_is_read_by_itself(plan, receipts_read):
    log = _log(plan)
    expected = _score(plan, range(9), log)
    log.end()
    expected |= _score(plan, [9])
    receipts_read.clear()
    assert _read(plan) == expected
    assert receipts_read == [plan.shards[9].shard_id]


def test_read_receipts_takes_the_receipt_that_was_replaced_since(plan, receipts_read):
    expected = _score(plan, range(10), _log(plan))
    again = a_receipt(plan, 4, part_sha256="e" * 64)
    put_receipt(plan, again)
    receipts_read.clear()
    assert _read(plan) == expected | {again.shard_id: again}
    assert receipts_read == [again.shard_id]


def test_a_shard_is_not_done_when_only_its_copy_is_there(plan):
    expected = _score(plan, range(10), _log(plan))
    shard_id = plan.shards[4].shard_id
    Path(receipt_uri(plan.run_uri, shard_id)).unlink()
    del expected[shard_id]
    assert _read(plan) == expected


def test_a_batch_that_goes_away_while_it_is_read_is_replaced_by_the_receipts(plan):
    expected = _score(plan, range(10), _log(plan))
    found = read_receipts(plan.run_uri, FINGERPRINT)
    Path(batch_uri(plan.run_uri, 0)).unlink()
    assert dict(found) == expected


def test_read_receipts_without_batches_keeps_some_and_reads_the_others_again(
    plan, monkeypatch, receipts_read
):
    monkeypatch.setattr(receipts, "KEPT", 7)
    expected = _score(plan, range(NUM_SHARDS))
    put_receipt(plan, a_receipt(plan, 20, fingerprint="0" * 64))
    del expected[plan.shards[20].shard_id]
    found = read_receipts(plan.run_uri, FINGERPRINT)
    assert sorted(found) == sorted(expected)
    receipts_read.clear()
    assert dict(found) == expected
    again = [shard.shard_id for shard in plan.shards[7:] if shard.shard_id in expected]
    assert sorted(receipts_read) == again


@pytest.mark.parametrize("damage", [None, b"", b"PAR1"])
def test_fill_writes_the_batches_that_are_lost_or_damaged(plan, damage, receipts_read):
    expected = _score(plan, range(NUM_SHARDS), _log(plan))
    path = Path(batch_uri(plan.run_uri, 1))
    whole = path.read_bytes()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    before = {n: Path(batch_uri(plan.run_uri, n)).stat().st_mtime_ns for n in (0, 2)}
    assert _read(plan, ReceiptLog(plan, lambda: None).fill) == expected
    assert path.read_bytes() == whole
    assert before == {
        n: Path(batch_uri(plan.run_uri, n)).stat().st_mtime_ns for n in (0, 2)
    }
    receipts_read.clear()
    assert _read(plan, ReceiptLog(plan, lambda: None).fill) == expected
    assert receipts_read == []


def test_fill_of_a_run_of_an_earlier_version_copies_its_whole_batches(plan):
    expected = _score(plan, range(15))
    assert _read(plan, ReceiptLog(plan, lambda: None).fill) == expected
    assert _batches(plan) == [0]


def test_fill_copies_a_receipt_that_was_replaced_anew(plan, receipts_read):
    expected = _score(plan, range(10), _log(plan))
    again = a_receipt(plan, 4, part_sha256="e" * 64)
    put_receipt(plan, again)
    expected[again.shard_id] = again
    assert _read(plan, ReceiptLog(plan, lambda: None).fill) == expected
    receipts_read.clear()
    assert _read(plan) == expected
    assert receipts_read == []


def test_a_few_shards_have_no_batch(plan):
    few = Plan(**(vars(plan) | {"shards": plan.shards[: FEWEST - 1]}))
    log = _log(few)
    expected = _score(few, range(FEWEST - 1), log)
    log.end()
    assert _read(few, log.fill) == expected
    assert _batches(few) == []


def test_a_receipt_of_another_run_or_a_damaged_one_is_not_copied(plan):
    log = _log(plan)
    expected = _score(plan, range(9), log)
    put_receipt(plan, a_receipt(plan, 9, fingerprint="0" * 64))
    log.add(plan.shards[9].shard_id)
    assert _batches(plan) == [0]
    assert _read(plan) == expected
    path = Path(receipt_uri(plan.run_uri, plan.shards[9].shard_id))
    path.write_text("{")
    log.add(plan.shards[9].shard_id)
    with pytest.raises(
        InputError, match=f"{path}: the file is damaged .it does not hold JSON"
    ):
        _read(plan)
    path.unlink()
    assert _read(plan) == expected


def test_a_start_whose_run_is_claimed_by_another_writes_no_batch(plan):
    def claimed() -> None:
        raise PartialRunError("claimed")

    log = _log(plan, claimed)
    _score(plan, range(9), log)
    with pytest.raises(PartialRunError):
        _score(plan, [9], log)
    assert _batches(plan) == []


def test_a_start_that_sleeps_before_its_put_replaces_no_newer_batch(plan, monkeypatch):
    """It has copied an older receipt; a newer start scores that shard again, and copies that."""
    log = _log(plan)
    _score(plan, range(9), log)
    create = storage.create_bytes
    again = a_receipt(plan, 4, part_sha256="e" * 64)
    reads = iter([True])

    def late(uri: str, data: bytes) -> bool:
        patch_storage(monkeypatch, "create_bytes", create)
        put_receipt(plan, again)
        assert ReceiptLog(plan, lambda: None)._write(uri)
        return create(uri, data)

    def claimed() -> None:  # by the newer start, once the older one wakes up
        if not next(reads, False):
            raise PartialRunError("claimed")

    older = _log(plan, claimed)
    patch_storage(monkeypatch, "create_bytes", late)
    put_receipt(plan, a_receipt(plan, 9))
    with pytest.raises(PartialRunError):
        older._write(batch_uri(plan.run_uri, 0))
    assert _read(plan)[again.shard_id] == again


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at_number", range(3))
def test_a_start_that_dies_at_a_batch_is_followed_by_one_that_finds_all(
    plan, monkeypatch, at_number, after
):
    create = storage.create_bytes

    def dying(uri: str, data: bytes) -> bool:
        is_last = uri == batch_uri(plan.run_uri, at_number)
        if is_last and not after:
            raise Killed
        done = create(uri, data)
        if is_last:
            raise Killed
        return done

    patch_storage(monkeypatch, "create_bytes", dying)
    log = _log(plan)
    with pytest.raises(Killed):
        _score(plan, range(NUM_SHARDS), log)
    patch_storage(monkeypatch, "create_bytes", create)
    num_done = min(10 * at_number + 10, NUM_SHARDS)
    expected = {r.shard_id: r for r in (a_receipt(plan, n) for n in range(num_done))}
    assert _read(plan) == expected
    next_log = ReceiptLog(plan, lambda: None)
    assert _read(plan, next_log.fill) == expected
    assert _batches(plan) == list(range(at_number + 1))
    next_log.wait_for(plan.shards[num_done:])
    expected |= _score(plan, range(num_done, NUM_SHARDS), next_log)
    next_log.end()
    assert _read(plan) == expected
    assert _batches(plan) == [0, 1, 2]

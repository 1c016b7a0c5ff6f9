"""Receipts of a run added up, against sums by hand."""

import dataclasses

import pytest

from rubert_ood.ads.sources import Ignored
from rubert_ood.runs.part_counts import CONFIDENCE_BINS
from rubert_ood.runs.plan import BundleName, Plan, QuarantinedFile, Shard
from rubert_ood.runs.profile import TOKEN_EDGES, Cities, ShardProfile
from rubert_ood.runs.receipts import QuarantinedShard, Receipt
from rubert_ood.runs.reuse import ReuseCounts
from rubert_ood.runs.shard_sums import sum_shards
from rubert_ood.runs.sums import Counts, Sums, Tally

FINISHED = "2026-11-24T03:00:00.000+00:00"
SHARDS = [Shard(f"0000{n}-ab", "in/a.csv", {}, 10 * n, 10 * n + 10) for n in range(3)]
HALF = 2**63


def _plan(**changes) -> Plan:
    plan = Plan(
        run_uri="/out/run_date=2026-11-24/run_id=x",
        run_id="x",
        run_date="2026-11-24",
        fingerprint="f" * 64,
        identity={},
        bundle=BundleName(fingerprint="b" * 64),
        input_uri="/in",
        output_uri="/out",
        carry_columns=[],
        embedding=False,
        use_gpu=False,
        precision="fp32",
        token_budget=100,
        shards=SHARDS,
        quarantined=[
            QuarantinedFile(uri="in/b.csv", reason="x", size=7),
            QuarantinedFile(uri="in/c.csv", reason="x", size=5),
        ],
        empty_files=[],
        input_bytes=1000,
        ignored=Ignored(),
    )
    return dataclasses.replace(plan, **changes)


def _receipt(number: int, **changes) -> Receipt:
    """Of a shard of ten rows, of which two were rejected."""
    shard = SHARDS[number]
    values = {
        "shard_id": shard.shard_id,
        "fingerprint": "f" * 64,
        "uri": shard.uri,
        "start": shard.start,
        "stop": shard.stop,
        "rows_in": 10,
        "rows_scored": 8,
        "rows_empty": 1,
        "rows_ood": 3,
        "rows_cut": 2,
        "rows_rejected": 2,
        "rejected_reasons": {"ad_id is null": 2},
        "classes": {"Шины": 5, "Other": 3},
        "confidence_histogram": [number] * CONFIDENCE_BINS,
        "unique_texts": 6,
        "tokens": 100,
        "unique_tokens": 80,
        "ids_in": HALF,
        "ids_out": HALF + 1,
        "ids_rejected": 5,
        "profile": ShardProfile(),
        "part_sha256": f"{number}" * 64,
        "seconds": 9.5,
        "scorer_busy_s": 3.0,
        "scorer_idle_s": 1.0,
        "finished_at": FINISHED,
    }
    return Receipt.model_validate(values | changes)


def _quarantined(number: int) -> QuarantinedShard:
    shard = SHARDS[number]
    return QuarantinedShard(
        shard_id=shard.shard_id,
        uri=shard.uri,
        start=shard.start,
        stop=shard.stop,
        rows_in=shard.num_rows,
        reason="damaged",
    )


def _add_up(*receipts: Receipt, quarantined: tuple[int, ...] = ()) -> Sums:
    failed = [_quarantined(number) for number in quarantined]
    tally = Tally(_plan(), {receipt.shard_id: receipt for receipt in receipts})
    return tally.sums(failed)


def test_add_up_counts_rows_by_the_receipts_and_bytes_by_the_plan():
    sums = _add_up(_receipt(0), _receipt(1), quarantined=(2,))
    assert sums.counts == Counts(
        rows_planned=30,
        rows_in=20,
        rows_scored=16,
        rows_rejected=4,
        rows_quarantined=10,
        rows_empty=2,
        rows_ood=6,
        rows_other=6,
        rows_cut=4,
        unique_texts=12,
        tokens=200,
        unique_tokens=160,
        bytes_in=1000,
        bytes_quarantined=12,
    )
    assert sums.rejected_reasons == {"ad_id is null": 4}
    assert sums.confidence_histogram == [1] * CONFIDENCE_BINS


def test_add_up_takes_the_digests_modulo_2_to_the_64():
    sums = _add_up(_receipt(0), _receipt(1), _receipt(2))
    assert sums.ids_in == HALF  # 3 * 2**63 = 2**64 + 2**63
    assert sums.ids_out == HALF + 3
    assert sums.ids_rejected == 15


def test_add_up_takes_the_shards_in_the_order_of_the_plan():
    receipts = [_receipt(0), _receipt(2)]
    assert dict(sum_shards(receipts)).items() <= dict(_add_up(*receipts[::-1])).items()


def test_add_up_sorts_the_quarantined_shards():
    sums = _add_up(_receipt(1), quarantined=(2, 0))
    names = [shard.shard_id for shard in sums.quarantined_shards]
    assert names == ["00000-ab", "00002-ab"]
    assert sums.counts.rows_quarantined == 20


def test_add_up_leaves_out_a_receipt_of_a_shard_that_is_not_planned():
    stranger = _receipt(0, shard_id="99999-ff")
    assert _add_up(_receipt(1), stranger) == _add_up(_receipt(1))


def test_add_up_orders_classes_by_their_ads():
    sums = _add_up(
        _receipt(0, classes={"Шины": 1, "Мебель": 7}),
        _receipt(1, classes={"Квартиры": 3, "Шины": 5}),
    )
    assert list(sums.classes.items()) == [("Мебель", 7), ("Шины", 6), ("Квартиры", 3)]
    assert sums.counts.rows_other == 0


def test_add_up_of_no_receipt_is_all_zero_but_what_was_planned():
    sums = _add_up()
    counted = {name: value for name, value in sums.counts if value}
    assert counted == {"rows_planned": 30, "bytes_in": 1000, "bytes_quarantined": 12}
    assert sums.confidence_histogram == [0] * CONFIDENCE_BINS
    assert (sums.classes, sums.parts_sha256, sums.ids_in) == ({}, "", 0)
    assert (sums.scorer_idle_share, sums.padding_share) == (0, 0)
    assert (sums.token_histogram, sums.cities, sums.top_ood) == (None, None, None)


@pytest.mark.parametrize(
    ("times", "share"), [([(3, 1), (1, 3)], 0.5), ([(0, 0)], 0), ([(0, 2), (6, 0)], 0.25)]
)
def test_add_up_shares_the_time_of_the_scorers_not_the_shares_of_shards(times, share):
    receipts = [
        _receipt(number, scorer_busy_s=float(busy), scorer_idle_s=float(idle))
        for number, (busy, idle) in enumerate(times)
    ]
    assert _add_up(*receipts).scorer_idle_share == pytest.approx(share)


@pytest.mark.parametrize(
    ("scored", "computed"), [((None, None), 40 + 2 * 80), ((10, 0), 40 + 10)]
)
def test_add_up_takes_padding_as_a_share_of_what_was_computed_here(scored, computed):
    receipts = []
    for number, (num_scored, num_padded) in enumerate(zip(scored, (40, 0), strict=True)):
        profile = ShardProfile(scored_tokens=num_scored, padded_tokens=num_padded)
        receipts.append(_receipt(number, profile=profile))
    assert _add_up(*receipts).padding_share == pytest.approx(40 / computed)


def test_add_up_adds_the_profiles():
    lengths = [[n, *[0] * (len(TOKEN_EDGES) - 1)] for n in (1, 2)]
    cities = [Cities(rows=3, rows_unseen=n, unseen={"уфа": n}) for n in (1, 2)]
    profiles = [
        ShardProfile(cities=city, token_histogram=histogram)
        for city, histogram in zip(cities, lengths, strict=True)
    ]
    sums = _add_up(*(_receipt(n, profile=profile) for n, profile in enumerate(profiles)))
    assert sums.cities == Cities(rows=6, rows_unseen=3, unseen={"уфа": 3})
    assert sums.token_histogram == [3, *[0] * (len(TOKEN_EDGES) - 1)]


def test_counts_of_reuse_add_rows_of_other_runs_and_texts_up():
    reuse = ReuseCounts(texts_scored=2, texts_reused=4, texts_checked=1)
    none = ReuseCounts(texts_scored=7, without_index=True)
    receipts = [
        _receipt(0, scored_in={"x": 3, "old": 4, "older": 1}, reuse=reuse),
        _receipt(1, scored_in={"x": 8}, reuse=none),
        _receipt(2),  # of an earlier version
    ]
    counts = _add_up(*receipts).counts
    assert counts.rows_reused == 5
    found = (counts.texts_scored, counts.texts_reused, counts.texts_checked)
    assert found == (9, 4, 1)
    assert counts.shards_without_index == 1

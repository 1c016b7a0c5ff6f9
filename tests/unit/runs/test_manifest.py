import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood import __version__, storage
from rubert_ood.errors import PartialRunError
from rubert_ood.runs.manifest import (
    SWAP_ATTEMPTS,
    Check,
    Manifest,
    read_manifest,
    revise_manifest,
    until_swapped,
)
from rubert_ood.runs.profile import TOKEN_EDGES, ShardProfile
from rubert_ood.runs.receipts import read_receipts
from rubert_ood.runs.shard_sums import ScoredShard, ShardSums, sum_shards
from rubert_ood.runs.sums import Sums
from tests.unit.messy_runs import REASONS

STARTED = "2026-11-24T03:00:00+00:00"


def _digest(ids) -> int:
    return (
        sum(int(pd.util.hash_array(np.array([value], object))[0]) for value in ids)
        % 2**64
    )


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        (0.2, 0.25, "x is 0.2, found 0.25"),
        (0.01, 1 / 21, "x is 0.01, found 0.04762"),
        (0.2, 0.200_01, "x is 0.2, found 0.20001"),
        (0.2, 0.200_000_01, "x is 0.2, found 0.20000001"),
        (20_000, 12_345, "x is 20000, found 12345"),
        (3_000_000, 2_999_999, "x is 3000000, found 2999999"),
    ],
)
def test_a_check_against_its_limit_has_the_digits_that_tell_them_apart(
    limit, value, words
):
    check = Check(check="x", value=value, limit=limit, ok=False)
    assert check.against() == words


def test_the_manifest_adds_up_to_the_whole_catalogue(full_run, messy_rows):
    plan = full_run.plan
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    manifest = Manifest.of(plan, receipts, outcome="complete", started_at=STARTED)
    rows = [
        row
        for n in range(len(plan.shards))
        for row in pq.read_table(full_run.part(n)).to_pylist()
    ]
    errors = [
        row
        for path in (full_run.folder / "_errors").iterdir()
        for row in pq.read_table(path).to_pylist()
    ]
    labels = Counter(row["label"] for row in rows)
    parts = [pq.read_table(full_run.part(n)) for n in range(len(plan.shards))]
    num_texts = 0
    for part in parts:
        ok = part.filter(pa.compute.equal(part["status"], "ok"))
        num_texts += len(ok["text_key"].unique())
    assert manifest.counts.model_dump() == {
        "rows_in": 120,
        "rows_planned": 120,
        "rows_scored": len(rows),
        "rows_rejected": len(errors),
        "rows_empty": 15,
        "rows_ood": sum(row["is_ood"] for row in rows),
        "rows_other": labels["Other"],
        "rows_cut": sum(row["is_cut"] for row in rows),
        "unique_texts": sum(receipt.unique_texts for receipt in full_run.receipts),
        "tokens": sum(row["num_tokens"] for row in rows),
        "unique_tokens": sum(receipt.unique_tokens for receipt in full_run.receipts),
        "rows_quarantined": 0,
        "bytes_in": sum(
            Path(shard.uri).stat().st_size for shard in plan.shards if shard.start == 0
        ),
        "bytes_quarantined": 0,
        "rows_reused": 0,
        "texts_scored": num_texts,
        "texts_reused": 0,
        "texts_checked": 0,
        "shards_without_index": 0,
    }
    assert len(rows) + len(errors) == 120
    assert labels["Other"] > 15
    assert manifest.counts.rows_cut >= 3
    assert manifest.counts.unique_texts < len(rows)
    assert manifest.classes == dict(labels)
    assert list(manifest.classes.values()) == sorted(labels.values(), reverse=True)
    assert manifest.rejected_reasons == dict(Counter(error["reason"] for error in errors))
    assert sum(manifest.confidence_histogram) == len(rows) - 15
    lengths = [row["num_tokens"] for row in rows]
    assert (
        manifest.token_histogram
        == np.histogram(lengths, [*TOKEN_EDGES, np.inf])[0].tolist()
    )
    assert manifest.token_histogram[0] == 15
    assert manifest.padding_share == 0  # on CPU ads are packed
    ids = [row["ad_id"] for row in messy_rows if isinstance(row["ad_id"], str)]
    rejected = [error["ad_id"] for error in errors if error["ad_id"] is not None]
    assert (manifest.ids_in, manifest.ids_rejected) == (_digest(ids), _digest(rejected))
    assert manifest.ids_out == _digest(row["ad_id"] for row in rows)
    assert [receipt.shard_id for receipt in full_run.receipts] == [
        shard.shard_id for shard in plan.shards
    ]
    expected = dict(sum_shards(full_run.receipts))
    assert expected.items() <= dict(manifest).items()
    for name in (
        "run_id",
        "run_date",
        "run_uri",
        "fingerprint",
        "bundle",
        "input_uri",
        "output_uri",
        "quarantined",
    ):
        assert getattr(manifest, name) == getattr(plan, name)
    assert (manifest.outcome, manifest.code_version, manifest.gate) == (
        "complete",
        __version__,
        [],
    )


def test_the_farthest_ads_of_the_catalogue_come_with_their_cleaned_text(
    full_run, messy_rows, bundle
):
    plan = full_run.plan
    manifest = Manifest.of(
        plan,
        read_receipts(plan.run_uri, plan.fingerprint),
        outcome="complete",
        started_at=STARTED,
    )
    parts = pd.concat(
        pq.read_table(full_run.part(n)).to_pandas() for n in range(len(plan.shards))
    )
    assert parts["is_ood"].sum() > 3
    texts = parts[parts["status"] == "ok"].drop_duplicates("text_key")
    ordered = texts.sort_values(["is_ood", "ood_distance"], ascending=[False, False])
    top = manifest.top_ood
    # no shard of ten ads is cut, so these are the farthest of all; a text of two shards has two
    # nearly equal distances
    farthest = ordered[:20]
    assert [ad.is_ood for ad in top] == farthest["is_ood"].tolist()
    np.testing.assert_allclose(
        [ad.ood_distance for ad in top], farthest["ood_distance"].to_numpy(), rtol=1e-4
    )
    assert len({ad.text_key for ad in top}) == 20
    for ad in top:
        rows = [
            row for row in messy_rows if row["ad_id"] == ad.ad_id
        ]  # an id may occur twice
        cleaned = [
            bundle.cleaner.clean(f"{row['title'] or ''} {row['description'] or ''}")
            for row in rows
        ]
        assert ad.text in [text[:200] for text in cleaned]
        assert ad.label == texts.set_index("text_key").loc[ad.text_key, "topk_labels"][0]


def test_cities_are_those_of_the_accepted_ads(make_run, messy_table, messy_rows, bundle):
    cities = [
        None if n % 5 == 0 else f" {row['city'].upper()}"
        for n, row in enumerate(messy_rows)
    ]
    for n in (1, 2, 111):  # 111 is rejected
        cities[n] = "Новый Город"
    position = messy_table.schema.get_field_index("city")
    run = make_run(messy_table.set_column(position, "city", pa.array(cities)))
    receipts = read_receipts(run.plan.run_uri, run.plan.fingerprint)
    manifest = Manifest.of(run.plan, receipts, outcome="complete", started_at=STARTED)
    accepted = [city for n, city in enumerate(cities) if n not in REASONS and city]
    assert manifest.cities.model_dump() == {
        "rows": len(accepted),
        "rows_unseen": 2,
        "unseen": {"новый город": 2},
    }

    without = make_run(messy_table.drop_columns(["city"]))
    receipts = read_receipts(without.plan.run_uri, without.plan.fingerprint)
    assert (
        Manifest.of(without.plan, receipts, outcome="complete", started_at=STARTED).cities
        is None
    )


def test_the_manifest_of_receipts_of_an_earlier_version(full_run):
    nothing = {"profile": ShardProfile()}
    old = {r.shard_id: r.model_copy(update=nothing) for r in full_run.receipts}
    manifest = Manifest.of(full_run.plan, old, outcome="complete", started_at=STARTED)
    assert (manifest.token_histogram, manifest.cities, manifest.top_ood) == (
        None,
        None,
        None,
    )
    new = Manifest.of(
        full_run.plan,
        {r.shard_id: r for r in full_run.receipts},
        outcome="complete",
        started_at=STARTED,
    )
    assert manifest.counts == new.counts


def test_the_manifest_of_a_part_of_the_shards(full_run):
    plan = full_run.plan
    some = {receipt.shard_id: receipt for receipt in full_run.receipts[:3]}
    manifest = Manifest.of(plan, some, outcome="partial", started_at=STARTED)
    assert manifest.counts.rows_in == 30
    assert manifest.counts.rows_planned == 120
    none = Manifest.of(plan, {}, outcome="partial", started_at=STARTED)
    assert {value for name, value in none.counts if name != "bytes_in"} == {0, 120}
    assert (none.classes, none.ids_in, none.confidence_histogram) == ({}, 0, [0] * 20)


def test_speed_counts_only_the_shards_of_this_start(full_run):
    now = datetime.now(UTC)
    started = (now - timedelta(seconds=100)).isoformat(timespec="seconds")
    older = (now - timedelta(seconds=500)).isoformat(timespec="milliseconds")
    newer = (now - timedelta(seconds=50)).isoformat(timespec="milliseconds")
    receipts = {
        receipt.shard_id: receipt.model_copy(
            update={"finished_at": newer if number < 4 else older}
        )
        for number, receipt in enumerate(full_run.receipts)
    }
    manifest = Manifest.of(
        full_run.plan, receipts, outcome="complete", started_at=started
    )
    assert manifest.elapsed_s == pytest.approx(100, abs=5)
    assert manifest.rows_per_s == pytest.approx(40 / manifest.elapsed_s)
    same_second = receipts | {
        r.shard_id: r.model_copy(
            update={"finished_at": started.replace("+00:00", ".001+00:00")}
        )
        for r in full_run.receipts[:4]
    }
    again = Manifest.of(
        full_run.plan, same_second, outcome="complete", started_at=started
    )
    assert again.rows_per_s == pytest.approx(40 / again.elapsed_s)


@pytest.mark.parametrize("ahead_s", [0.0, 30.0])
def test_speed_of_a_short_start_or_by_a_clock_that_was_set_back_is_no_fantasy(
    full_run, ahead_s
):
    started = datetime.now(UTC) + timedelta(seconds=ahead_s)
    ended = (started + timedelta(seconds=1)).isoformat(timespec="milliseconds")
    receipts = {
        receipt.shard_id: receipt.model_copy(update={"finished_at": ended})
        for receipt in full_run.receipts
    }
    time.sleep(0.02)
    manifest = Manifest.of(
        full_run.plan,
        receipts,
        outcome="complete",
        started_at=started.isoformat(timespec="milliseconds"),
    )
    assert manifest.elapsed_s >= 0
    assert manifest.rows_per_s <= full_run.plan.num_rows / 0.02


def test_a_manifest_comes_back_from_storage(run):
    manifest = Manifest.of(run.plan, {}, outcome="partial", started_at=STARTED)
    assert revise_manifest(run.plan.run_uri, lambda found: found or manifest) == manifest
    here = {
        "run_uri": run.plan.run_uri,
        "output_uri": run.plan.run_uri.rsplit("/", 2)[0],
    }  # it was copied
    assert read_manifest(run.plan.run_uri) == manifest.model_copy(update=here)


def test_a_manifest_of_format_1_is_read(full_run, tmp_path):
    """As 0.2.0 writes it: what came later is not there, and reads as not known."""
    later = {
        "format",
        "ignored",
        "refusal_reason",
        "rollback_reason",
        "pointers",
        "padding_share",
    }
    receipts = {receipt.shard_id: receipt for receipt in full_run.receipts}
    new = Manifest.of(full_run.plan, receipts, outcome="complete", started_at=STARTED)
    path = tmp_path / "_run" / "manifest.json"
    path.parent.mkdir()
    names = ScoredShard.model_fields.keys()
    content = new.model_dump(exclude=later | ShardSums.model_fields.keys())
    content["shards"] = [
        receipt.model_dump(include=names) for receipt in receipts.values()
    ]
    path.write_bytes(storage.to_json(content))
    found = read_manifest(str(tmp_path))
    assert found.model_extra == {}
    assert (found.format, found.ignored, found.pointers, found.padding_share) == (
        1,
        None,
        [],
        None,
    )
    assert found.model_dump(include=Sums.model_fields.keys() - later) == new.model_dump(
        include=Sums.model_fields.keys() - later
    )


def test_until_swapped_gives_up_after_some_attempts():
    attempts = []
    with pytest.raises(PartialRunError, match="busy"):
        until_swapped(lambda: attempts.append("x"), "busy")
    assert len(attempts) == SWAP_ATTEMPTS
    assert until_swapped(lambda: len(attempts), "busy") == SWAP_ATTEMPTS

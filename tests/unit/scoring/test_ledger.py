import dataclasses
import json
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood import __version__
from rubert_ood.errors import PartialRunError, VerificationError
from rubert_ood.scoring.ledger import (
    make_manifest,
    part_counts,
    put_manifest,
    read_manifest,
    read_receipts,
    verify_run,
)

STARTED = "2026-11-24T03:00:00+00:00"


@pytest.fixture
def run(full_run, tmp_path):
    """A copy of the run that a test may damage."""
    folder = shutil.copytree(full_run.folder, tmp_path / "run")
    return dataclasses.replace(full_run, plan=dataclasses.replace(full_run.plan, run_uri=str(folder)))


def _digest(ids) -> int:
    return sum(int(pd.util.hash_array(np.array([value], object))[0]) for value in ids) % 2**64


def _change(run, number: int, column: str, row: int, value) -> None:
    """Put another value into one cell of a part."""
    table = pq.read_table(run.part(number))
    position = table.schema.get_field_index(column)
    values = table[column].to_pylist()
    assert values[row] != value
    values[row] = value
    field = table.schema.field(column)
    pq.write_table(table.set_column(position, field, pa.array(values, field.type)), run.part(number))


def _take(run, number: int, change) -> None:
    """Write the rows of a part anew in the order that `change` makes of 0..n-1."""
    table = pq.read_table(run.part(number))
    pq.write_table(table.take(pa.array(change(list(range(table.num_rows))), pa.int64())), run.part(number))


def _forge_receipt(run, number: int, **changes) -> None:
    """Make the receipt agree with the part as it lies there now, as a fault in the writer would."""
    receipt = run.receipts[number] | part_counts(pq.read_table(run.part(number))) | changes
    path = run.folder / "_run" / "receipts" / f"{run.plan.shards[number].shard_id}.json"
    path.write_text(json.dumps(receipt), "utf-8")


def test_a_good_run_passes(run):
    receipts = verify_run(run.plan)
    assert list(receipts.values()) == run.receipts


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
        "unique_texts": sum(receipt["unique_texts"] for receipt in full_run.receipts),
        "tokens": sum(row["num_tokens"] for row in rows),
        "unique_tokens": sum(receipt["unique_tokens"] for receipt in full_run.receipts),
    }
    assert len(rows) + len(errors) == 120
    assert labels["Other"] > 15
    assert manifest["counts"]["unique_texts"] < len(rows)
    assert manifest["classes"] == dict(labels)
    assert list(manifest["classes"].values()) == sorted(labels.values(), reverse=True)
    assert manifest["rejected_reasons"] == dict(Counter(error["reason"] for error in errors))
    assert sum(manifest["confidence_histogram"]) == len(rows) - 15
    ids = [row["ad_id"] for row in messy_rows if isinstance(row["ad_id"], str)]
    rejected = [error["ad_id"] for error in errors if error["ad_id"] is not None]
    assert (manifest["ids_in"], manifest["ids_rejected"]) == (_digest(ids), _digest(rejected))
    assert manifest["ids_out"] == _digest(row["ad_id"] for row in rows)
    assert [shard["shard_id"] for shard in manifest["shards"]] == [shard.shard_id for shard in plan.shards]
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
    assert set(none["counts"].values()) == {0, 120}
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
    with pytest.raises(PartialRunError, match=rf"{len(run.receipts)} of {len(run.receipts)} shards"):
        verify_run(dataclasses.replace(run.plan, fingerprint="0" * 64))


def test_a_missing_receipt_is_a_partial_run(run):
    (run.folder / "_run" / "receipts" / f"{run.plan.shards[1].shard_id}.json").unlink()
    with pytest.raises(PartialRunError, match="1 of 12 shards are not scored; run again") as error:
        verify_run(run.plan)
    assert error.value.exit_code == 6


def test_a_missing_part_is_named(run):
    run.part(3).unlink()
    with pytest.raises(VerificationError, match=rf"{run.part(3).name} is missing \(1 such\)") as error:
        verify_run(run.plan)
    assert error.value.exit_code == 1


def test_a_foreign_part_is_named(run):
    shutil.copy(run.part(3), run.folder / "part-99999-0123abcd.parquet")
    with pytest.raises(VerificationError, match=r"part-99999-0123abcd\.parquet is no part of this run"):
        verify_run(run.plan)


def test_the_part_of_another_shard_in_its_place(run):
    shutil.copy(run.part(3), run.part(2))
    with pytest.raises(VerificationError, match=run.part(2).name):
        verify_run(run.plan)


def test_the_part_of_another_run_in_its_place(run, score_plan, tmp_path):
    plan = dataclasses.replace(run.plan, run_id="other", run_uri=str(tmp_path / "other"), fingerprint="1" * 64)
    score_plan(plan)
    shutil.copy(tmp_path / "other" / run.part(2).name, run.part(2))
    with pytest.raises(VerificationError, match=rf"{run.part(2).name}: written by another run"):
        verify_run(run.plan)


def test_a_part_of_another_bundle(run):
    table = pq.read_table(run.part(2))
    metadata = table.schema.metadata | {b"rubert_ood.bundle": b"0" * 64}
    pq.write_table(table.replace_schema_metadata(metadata), run.part(2))
    with pytest.raises(VerificationError, match=rf"{run.part(2).name}: written by another bundle"):
        verify_run(run.plan)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows[1:], "rows_scored"),
        (lambda rows: [*rows, rows[0]], "rows_scored"),
        (lambda rows: [], "rows_scored"),
        (lambda rows: [rows[1], *rows[1:]], ""),  # one lost and one doubled: as many rows as before
    ],
)
def test_lost_and_doubled_rows_are_found(run, change, named):
    _take(run, 2, change)
    with pytest.raises(VerificationError, match=rf"{run.part(2).name}: {named}.* its receipt says"):
        verify_run(run.plan)


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("ad_id", "another", "ids_out"),
        ("label", "Ёлки", "classes"),
        ("confidence", 0.001, "confidence_histogram"),
        ("status", "empty", "rows_empty"),
        ("num_tokens", 1, "tokens"),
        ("text_key", "0" * 32, "unique_tokens|unique_texts"),
    ],
)
def test_a_changed_value_is_found(run, column, value, named):
    row = 2 if column == "text_key" else 0  # rows 0 and 2 have the same text
    _change(run, 2, column, row, value)
    with pytest.raises(VerificationError, match=rf"{run.part(2).name}: ({named}) is .* its receipt says"):
        verify_run(run.plan)


def test_a_flipped_ood_flag_is_found(run):
    flag = pq.read_table(run.part(0))["is_ood"][0].as_py()
    _change(run, 0, "is_ood", 0, not flag)
    with pytest.raises(VerificationError, match="rows_ood"):
        verify_run(run.plan)


def test_a_row_that_the_writer_lost_is_found_though_part_and_receipt_agree(run):
    _take(run, 2, lambda rows: rows[1:])
    _forge_receipt(run, 2)
    with pytest.raises(VerificationError, match="rows were lost or doubled"):
        verify_run(run.plan)
    _forge_receipt(run, 2, rows_in=9)
    with pytest.raises(VerificationError, match="rows were lost or doubled"):
        verify_run(run.plan)


def test_an_id_that_the_writer_changed_is_found_though_part_and_receipt_agree(run):
    _change(run, 2, "ad_id", 0, "another")
    _forge_receipt(run, 2)
    with pytest.raises(VerificationError, match="its ad ids are not those of the input"):
        verify_run(run.plan)


def test_a_row_doubled_in_place_of_another_is_found_though_part_and_receipt_agree(run):
    _take(run, 2, lambda rows: [rows[1], *rows[1:]])
    _forge_receipt(run, 2)
    with pytest.raises(VerificationError, match="its ad ids are not those of the input"):
        verify_run(run.plan)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "column"])
def test_a_part_that_cannot_be_read_is_named(run, damage):
    path = run.part(2)
    data = path.read_bytes()
    if damage == "column":
        pq.write_table(pq.read_table(path).drop_columns(["confidence"]), path)
    else:
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "noise": b"\x00" * len(data)}[damage])
    with pytest.raises(VerificationError, match=rf"{path.name}: ") as error:
        verify_run(run.plan)
    assert "\n" not in str(error.value)


def test_digests_that_wrap_round_still_agree(make_run):
    ids = [str(n) for n in range(100) if _digest([str(n)]) > 2**63][:2]
    assert _digest(ids[:1]) + _digest(ids[1:]) >= 2**64
    titles = pa.array([b"\xd0\xd8", b"x"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, titles.buffers())
    run = make_run(pa.table({"ad_id": ids, "title": broken, "description": ["диван", "диван"]}))
    assert (run.receipts[0]["rows_rejected"], run.receipts[0]["rows_scored"]) == (1, 1)
    verify_run(run.plan)


def test_an_edited_score_is_found_though_no_count_changes(run):
    _change(run, 1, "ood_distance", 0, 1.5)
    with pytest.raises(VerificationError, match="changed since it was written"):
        verify_run(run.plan)

"""A run of version 0.4.0 and before, whose parts are what readers take: each is compared with its
receipt, as it is before it is sealed. Sealed runs: test_verify_sealed.py."""

import dataclasses
import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.errors import PartialRunError, VerificationError
from rubert_ood.publishing.gate import check_gate
from rubert_ood.runs.manifest import Manifest, manifest_uri
from rubert_ood.runs.part_counts import part_counts
from rubert_ood.runs.profile import token_histogram
from rubert_ood.runs.receipts import put_quarantine
from rubert_ood.runs.verify import (
    PartMismatchError,
    check_manifest,
    complete_manifest,
    verify_run,
)
from rubert_ood.settings import GateSettings
from tests.unit.messy_runs import REASONS, score_plan

STARTED = "2026-11-24T03:00:00+00:00"


def _digest(ids) -> int:
    return (
        sum(int(pd.util.hash_array(np.array([value], object))[0]) for value in ids)
        % 2**64
    )


@pytest.fixture
def run(older_run):
    return older_run


def test_verify_of_a_good_run_passes(run):
    receipts = verify_run(run.plan).receipts
    assert list(receipts.values()) == run.receipts


def _read(content: dict) -> Manifest:
    """Read a manifest that is written so."""
    return Manifest.model_validate_json(storage.to_json(content))


def _change(run, number: int, column: str, row: int, value) -> None:
    """Put another value into one cell of a part."""
    table = pq.read_table(run.part(number))
    position = table.schema.get_field_index(column)
    values = table[column].to_pylist()
    assert values[row] != value
    values[row] = value
    field = table.schema.field(column)
    pq.write_table(
        table.set_column(position, field, pa.array(values, field.type)), run.part(number)
    )


def _take(run, number: int, change) -> None:
    """Write the rows of a part anew in the order that `change` makes of 0..n-1."""
    table = pq.read_table(run.part(number))
    pq.write_table(
        table.take(pa.array(change(list(range(table.num_rows))), pa.int64())),
        run.part(number),
    )


def _forge_receipt(run, number: int, **changes) -> None:
    """Make the receipt agree with the part as it lies there now, as a fault in the writer would."""
    part = pq.read_table(run.part(number))
    lengths = token_histogram(part["num_tokens"].to_numpy())
    receipt = run.receipts[number].model_dump() | part_counts(part).model_dump() | changes
    receipt["profile"]["token_histogram"] = lengths
    path = run.folder / "_run" / "receipts" / f"{run.plan.shards[number].shard_id}.json"
    path.write_text(json.dumps(receipt), "utf-8")


def test_receipts_of_another_fingerprint_are_none(run):
    with pytest.raises(
        PartialRunError, match=rf"{len(run.receipts)} of {len(run.receipts)} shards"
    ):
        verify_run(dataclasses.replace(run.plan, fingerprint="0" * 64))


def test_verify_of_a_run_with_a_missing_receipt_is_partial(run):
    (run.folder / "_run" / "receipts" / f"{run.plan.shards[1].shard_id}.json").unlink()
    with pytest.raises(
        PartialRunError, match=r"1 of 12 shards are not scored. Run its"
    ) as error:
        verify_run(run.plan)
    assert error.value.exit_code == 6


def test_verify_names_a_missing_part(run):
    run.part(3).unlink()
    with pytest.raises(
        VerificationError, match=rf"{run.part(3).name} is missing \(1 problem in all\)"
    ) as error:
        verify_run(run.plan)
    assert error.value.exit_code == 1


def test_verify_finds_the_part_of_another_shard_in_its_place(run):
    shutil.copy(run.part(3), run.part(2))
    with pytest.raises(VerificationError, match=run.part(2).name):
        verify_run(run.plan)


def test_verify_finds_the_part_of_another_run_in_its_place(run, tmp_path):
    plan = dataclasses.replace(
        run.plan, run_id="other", run_uri=str(tmp_path / "other"), fingerprint="1" * 64
    )
    score_plan(plan)
    shutil.copy(tmp_path / "other" / run.part(2).name, run.part(2))
    with pytest.raises(
        VerificationError, match=f"{run.part(2).name}: another run wrote this file"
    ):
        verify_run(run.plan)


def test_verify_finds_a_part_of_another_bundle(run):
    table = pq.read_table(run.part(2))
    metadata = table.schema.metadata | {b"rubert_ood.bundle": b"0" * 64}
    pq.write_table(table.replace_schema_metadata(metadata), run.part(2))
    with pytest.raises(
        VerificationError, match=f"{run.part(2).name}: another bundle wrote this file"
    ):
        verify_run(run.plan)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows[1:], "rows_scored"),
        (lambda rows: [*rows, rows[0]], "rows_scored"),
        (lambda rows: [], "rows_scored"),
        (
            lambda rows: [rows[1], *rows[1:]],
            "",
        ),  # one lost and one doubled: as many rows as before
    ],
)
def test_verify_finds_lost_and_doubled_rows(run, change, named):
    _take(run, 2, change)
    with pytest.raises(
        VerificationError, match=rf"{run.part(2).name}: {named}.* its receipt says"
    ):
        verify_run(run.plan)


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("ad_id", "another", "ids_out"),
        ("label", "Ёлки", "classes"),
        ("confidence", 0.001, "confidence_histogram"),
        ("status", "empty", "rows_empty"),
        ("num_tokens", 1, "tokens"),
        ("is_cut", True, "rows_cut"),
        ("text_key", "0" * 32, "unique_tokens|unique_texts"),
    ],
)
def test_verify_finds_a_changed_value(run, column, value, named):
    row = 2 if column == "text_key" else 0  # rows 0 and 2 have the same text
    _change(run, 2, column, row, value)
    with pytest.raises(
        VerificationError, match=rf"{run.part(2).name}: ({named}) is .* its receipt says"
    ):
        verify_run(run.plan)


def test_verify_counts_text_lengths_again(run):
    """The sum of the tokens stays, the lengths of two ads change."""
    lengths = pq.read_table(run.part(1))["num_tokens"].to_pylist()
    _change(run, 1, "num_tokens", 0, lengths[0] + lengths[1] - 2)
    _change(run, 1, "num_tokens", 1, 2)
    with pytest.raises(
        VerificationError,
        match=rf"{run.part(1).name}: token_histogram is .* its receipt says",
    ):
        verify_run(run.plan)


def test_verify_of_receipts_and_a_manifest_of_an_earlier_version_passes(run):
    for shard in run.plan.shards:
        path = run.folder / "_run" / "receipts" / f"{shard.shard_id}.json"
        receipt = json.loads(path.read_text("utf-8"))
        del receipt["profile"]
        path.write_text(json.dumps(receipt), "utf-8")
    manifest = Manifest.of(
        run.plan, verify_run(run.plan).receipts, outcome="complete", started_at=STARTED
    )
    later = ("token_histogram", "padding_share", "cities", "top_ood")
    content = {name: value for name, value in manifest if name not in later}
    check_manifest(_read(content), manifest)


def test_verify_finds_a_flipped_ood_flag(run):
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
    with pytest.raises(
        VerificationError, match="the ad ids differ from those of the input"
    ):
        verify_run(run.plan)


def test_a_row_doubled_in_place_of_another_is_found_though_part_and_receipt_agree(run):
    _take(run, 2, lambda rows: [rows[1], *rows[1:]])
    _forge_receipt(run, 2)
    with pytest.raises(
        VerificationError, match="the ad ids differ from those of the input"
    ):
        verify_run(run.plan)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "column"])
def test_verify_names_a_part_that_cannot_be_read(run, damage):
    path = run.part(2)
    data = path.read_bytes()
    if damage == "column":
        pq.write_table(pq.read_table(path).drop_columns(["confidence"]), path)
    else:
        path.write_bytes(
            {"cut": data[: len(data) // 2], "empty": b"", "noise": b"\x00" * len(data)}[
                damage
            ]
        )
    with pytest.raises(VerificationError, match=rf"{path.name}: ") as error:
        verify_run(run.plan)
    assert "\n" not in str(error.value)


def test_verify_of_digests_that_wrap_round_passes(make_run):
    ids = [str(n) for n in range(100) if _digest([str(n)]) > 2**63][:2]
    assert _digest(ids[:1]) + _digest(ids[1:]) >= 2**64
    titles = pa.array([b"\xd0\xd8", b"x"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, titles.buffers())
    run = make_run(
        pa.table({"ad_id": ids, "title": broken, "description": ["диван", "диван"]})
    )
    assert (run.receipts[0].rows_rejected, run.receipts[0].rows_scored) == (1, 1)
    verify_run(run.plan)


def test_verify_finds_an_edited_score_though_no_count_changes(run):
    _change(run, 1, "ood_distance", 0, 1.5)
    with pytest.raises(VerificationError, match="changed after it was written"):
        verify_run(run.plan)


def test_verify_finds_every_bad_part_so_that_all_can_be_scored_again(run):
    run.part(3).unlink()
    _take(run, 5, lambda rows: rows[1:])
    (run.folder / run.plan.shards[0].rejected_name).unlink()
    with pytest.raises(PartMismatchError, match=r"\(3 problems in all\)") as error:
        verify_run(run.plan)
    assert set(error.value.shard_ids) == {
        run.plan.shards[number].shard_id for number in (0, 3, 5)
    }


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [("reason", "no reason", "rejected_reasons"), ("ad_id", "another", "ids_rejected")],
)
def test_verify_finds_changed_rejected_rows(run, column, value, named):
    path = run.folder / run.plan.shards[4].rejected_name
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[-1] = value
    position = table.schema.get_field_index(column)
    pq.write_table(
        table.set_column(position, column, pa.array(values, pa.string())), path
    )
    with pytest.raises(
        PartMismatchError, match=rf"_errors/{path.name}: {named} is .*, its receipt says"
    ):
        verify_run(run.plan)


def test_verify_finds_lost_and_doubled_rejected_rows(run):
    path = run.folder / run.plan.shards[4].rejected_name
    table = pq.read_table(path)
    for rows in ([0], [0, 0, 1]):
        pq.write_table(table.take(rows), path)
        with pytest.raises(PartMismatchError, match="rejected_reasons"):
            verify_run(run.plan)


def test_verify_names_a_file_of_rejected_rows_that_is_not_of_the_run(run):
    foreign = run.plan.shards[2].rejected_name
    shutil.copy(run.folder / run.plan.shards[4].rejected_name, run.folder / foreign)
    with pytest.raises(VerificationError, match=rf"{foreign} is not a file of this run"):
        verify_run(run.plan)


def test_verify_run_of_version_0_2_0_reads_its_rejected_rows(run):
    for shard in run.plan.shards:
        if (run.folder / shard.rejected_name).exists():
            (run.folder / shard.rejected_name).rename(
                run.folder / shard.older_rejected_name
            )
    verify_run(run.plan)


def test_verify_of_a_quarantined_shard_needs_no_part(run):
    shard = run.plan.shards[3]
    (run.folder / "_run" / "receipts" / f"{shard.shard_id}.json").unlink()
    run.part(3).unlink()
    put_quarantine(run.plan, shard, "b.parquet: damaged")
    verified = verify_run(run.plan)
    assert set(verified.receipts) == {s.shard_id for s in run.plan.shards} - {
        shard.shard_id
    }
    assert verified.quarantined[shard.shard_id].reason == "b.parquet: damaged"
    manifest = Manifest.of(
        run.plan,
        verified.receipts,
        outcome="complete",
        started_at=STARTED,
        quarantined=verified.quarantined,
    )
    counts = manifest.counts
    assert counts.rows_quarantined == shard.num_rows == 10
    assert counts.rows_in + counts.rows_quarantined == counts.rows_planned == 120
    assert [failed.uri for failed in manifest.quarantined_shards] == [shard.uri]
    gate = {
        check.check: check.value for check in check_gate(manifest, None, GateSettings())
    }
    assert gate["max_error_rate"] == (counts.rows_rejected + 10) / 120


def test_a_receipt_annuls_the_quarantine_of_its_shard(run):
    put_quarantine(run.plan, run.plan.shards[3], "its process died")
    assert verify_run(run.plan).quarantined == {}


def test_verify_counts_duplicate_ids_and_names_them_with_their_files(run, messy_rows):
    counts = Counter(
        row["ad_id"] for number, row in enumerate(messy_rows) if number not in REASONS
    )
    repeated = {ad_id: copies for ad_id, copies in counts.items() if copies > 1}
    assert verify_run(run.plan).duplicates.model_dump() == {
        "ids": len(repeated),
        "rows": sum(copies - 1 for copies in repeated.values()),
        "examples": [
            {"ad_id": ad_id, "copies": copies, "files": [run.plan.shards[3].uri]}
            for ad_id, copies in repeated.items()
        ],
    }


@pytest.mark.parametrize(
    "edit",
    [
        lambda manifest: manifest["counts"].update(rows_ood=0),
        lambda manifest: manifest["classes"].popitem(),
        lambda manifest: manifest.update(parts_sha256="0" * 64),
        lambda manifest: manifest.update(shards_sha256="0" * 64),
        lambda manifest: manifest.update(ids_out=1),
        lambda manifest: manifest["token_histogram"].reverse(),
        lambda manifest: manifest["cities"].update(rows_unseen=99),
        lambda manifest: manifest["top_ood"].pop(),
    ],
)
def test_verify_finds_an_edited_manifest(run, edit):
    manifest = Manifest.of(
        run.plan, verify_run(run.plan).receipts, outcome="complete", started_at=STARTED
    )
    content = manifest.model_dump()
    check_manifest(_read(content), manifest)
    edit(content)
    with pytest.raises(
        VerificationError,
        match=(
            r"manifest\.json: \w+ differs from what the receipts add up to\. Restore"
            " the manifest"
        ),
    ):
        check_manifest(_read(content), manifest)


def test_a_receipt_written_twice_at_two_times_is_no_edit(run):
    manifest = Manifest.of(
        run.plan, verify_run(run.plan).receipts, outcome="complete", started_at=STARTED
    )
    path = run.folder / "_run" / "receipts" / f"{run.plan.shards[2].shard_id}.json"
    receipt = json.loads(path.read_text("utf-8"))
    path.write_text(
        json.dumps(
            receipt | {"seconds": 99.0, "finished_at": "2026-01-02T00:00:00.000+00:00"}
        ),
        "utf-8",
    )
    again = Manifest.of(
        run.plan, verify_run(run.plan).receipts, outcome="complete", started_at=STARTED
    )
    assert again.slowest != manifest.slowest
    check_manifest(manifest, again)


def test_complete_manifest_of_a_run_that_an_older_version_scored_says_so(run):
    """As `publish` by a newer version makes it: what scored the ads stays what it was."""
    verified = verify_run(run.plan)
    manifest = complete_manifest(run.plan, verified, STARTED)
    storage.put_json(
        manifest_uri(run.plan.run_uri),
        manifest.model_copy(update={"code_version": "0.1.7"}),
    )
    assert complete_manifest(run.plan, verified).code_version == "0.1.7"

"""A sealed file against its seal and the receipts of its parts."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.errors import VerificationError
from rubert_ood.runs import check_sealed as module
from rubert_ood.runs.check_sealed import check_sealed
from rubert_ood.runs.seals import find_seal


def _check(run, number: int = 1) -> pa.ChunkedArray:
    group = run.groups()[number]
    return check_sealed(run.plan, group, find_seal(run.plan, group.path))


def _forge(run, table: pa.Table, number: int = 1) -> pa.ChunkedArray:
    """Check a file and a seal that agree with each other, as a fault in the writer would leave
    them."""
    path, group = run.files[number], run.groups()[number]
    pq.write_table(table, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    seal = find_seal(run.plan, group.path).model_copy(update={"sha256": sha256})
    return check_sealed(run.plan, group, seal)


def _change(table: pa.Table, column: str, value) -> pa.Table:
    position, field = table.schema.get_field_index(column), table.schema.field(column)
    before, *others = table[column].to_pylist()
    values = [not before if isinstance(value, bool) else value, *others]
    return table.set_column(position, field, pa.array(values, field.type))


@pytest.mark.parametrize("batch_rows", [7, 2**16])
def test_check_sealed_of_a_good_file_returns_its_ids(full_run, monkeypatch, batch_rows):
    monkeypatch.setattr(module, "BATCH_ROWS", batch_rows)
    for number, path in enumerate(full_run.files):
        ids = _check(full_run, number)
        assert ids.to_pylist() == pq.read_table(path)["ad_id"].to_pylist()


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "one byte", "other file"])
def test_check_sealed_of_another_content_names_the_file(run, damage):
    path = run.files[1]
    data = path.read_bytes()
    changed = {
        "cut": data[: len(data) // 2],
        "empty": b"",
        "noise": b"\x00" * len(data),
        "one byte": data[:99] + bytes([data[99] ^ 1]) + data[100:],
        "other file": run.files[0].read_bytes(),
    }
    path.write_bytes(changed[damage])
    with pytest.raises(VerificationError) as error:
        _check(run)
    line = "the file changed after it was sealed (its sha256 differs from the seal)"
    assert str(error.value) == f"{path}: {line}"


def test_check_sealed_of_a_file_that_is_gone_names_it(run):
    path = run.files[1]
    path.unlink()
    with pytest.raises(VerificationError, match=rf"{path}: no such file"):
        _check(run)


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("ad_id", "another", "ids_out"),
        ("label", "Ёлки", "classes"),
        ("confidence", 0.001, "confidence_histogram"),
        ("status", "empty", "rows_empty"),
        ("num_tokens", 1, "tokens"),
        ("is_cut", True, "rows_cut"),
    ],
)
def test_check_sealed_finds_what_the_writer_changed(run, column, value, named):
    table = _change(pq.read_table(run.files[0]), column, value)
    with pytest.raises(VerificationError, match=rf"{named} is .*, its receipt says"):
        _forge(run, table, 0)


@pytest.mark.parametrize("rows", [[1, 2, 3], [0, 0], [1, 1, 2, 3]])
def test_check_sealed_finds_rows_that_the_writer_lost_or_doubled(run, rows):
    table = pq.read_table(run.files[1])
    rest = range(4, table.num_rows)
    with pytest.raises(VerificationError, match=r"is .*, its receipt says"):
        _forge(run, table.take([*rows, *rest]))


def test_check_sealed_finds_a_file_of_another_run_and_of_another_bundle(run):
    table = pq.read_table(run.files[1])
    for key, name in (("run_id", "run"), ("bundle", "bundle")):
        metadata = table.schema.metadata | {f"rubert_ood.{key}".encode(): b"other"}
        with pytest.raises(VerificationError, match=f"another {name}"):
            _forge(run, table.replace_schema_metadata(metadata))


def test_check_sealed_names_a_column_that_is_not_there(run):
    table = pq.read_table(run.files[1]).drop_columns(["confidence"])
    with pytest.raises(VerificationError, match="no column 'confidence'"):
        _forge(run, table)


def test_check_sealed_finds_a_seal_with_other_counts(run):
    group = run.groups()[1]
    seal = find_seal(run.plan, group.path)
    for name in ("rows", "ids_out"):
        edited = seal.model_copy(update={name: 1})
        with pytest.raises(VerificationError, match=f"{name} in its seal is 1, its rec"):
            check_sealed(run.plan, group, edited)


def test_check_sealed_finds_a_receipt_with_other_rows_than_its_shard(run):
    group = run.groups()[1]
    forged = group.receipts[0].model_copy(update={"rows_in": 9})
    other = dataclasses.replace(group, by_id={**group.by_id, forged.shard_id: forged})
    with pytest.raises(VerificationError, match="rows were lost or doubled"):
        check_sealed(run.plan, other, find_seal(run.plan, group.path))


def test_ids_of_a_file_have_the_digest_that_its_seal_says(full_run):
    for number, group in enumerate(full_run.groups()):
        ids = np.array(_check(full_run, number).to_pylist(), dtype=object)
        total = sum(int(value) for value in pd.util.hash_array(ids)) % 2**64
        assert find_seal(full_run.plan, group.path).ids_out == total


def test_check_sealed_reads_a_run_that_was_moved(run, tmp_path):
    moved = run.moved(shutil.copytree(run.folder, tmp_path / "moved"))
    shutil.rmtree(run.folder)
    assert len(_check(moved)) == moved.groups()[1].num_rows

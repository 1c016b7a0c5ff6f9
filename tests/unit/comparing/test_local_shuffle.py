"""Partitions made in this process: every row once, all rows of an id in one of them."""

from collections import Counter

import numpy as np
import pytest

from rubert_ood.comparing import local_shuffle, whole_run
from rubert_ood.comparing.compare import compare
from rubert_ood.comparing.counts import ROW_SCHEMA
from rubert_ood.errors import InputError
from tests.unit.comparing.runs import random_run


@pytest.fixture
def two_runs(tmp_path):
    return random_run(tmp_path / "a", seed=1), random_run(tmp_path / "b", seed=2)


@pytest.mark.parametrize("partition_rows", [7, 50, 10**6])
def test_partitions_hold_every_row_once_and_each_id_in_one(
    two_runs, monkeypatch, partition_rows
):
    monkeypatch.setattr(whole_run, "PARTITION_ROWS", partition_rows)
    tables = []
    monkeypatch.setattr(local_shuffle, "count_partition", tables.append)
    list(local_shuffle.partitions(*two_runs))
    assert len(tables) == whole_run.num_partitions(*two_runs)
    seen: Counter[tuple] = Counter()
    partitions_of: dict[str, set[int]] = {}
    for number, table in enumerate(tables):
        assert table.schema == ROW_SCHEMA
        for row in table.to_pylist():
            seen[tuple(row.values())] += 1
            partitions_of.setdefault(row["ad_id"], set()).add(number)
    assert all(len(numbers) == 1 for numbers in partitions_of.values())
    expected: Counter[tuple] = Counter()
    for piece, in_b in whole_run.all_pieces(*two_runs):
        for row in whole_run.read_piece(piece, in_b=in_b).to_pylist():
            expected[tuple(row.values())] += 1
    assert seen == expected


def test_the_number_of_partitions_does_not_change_the_document(two_runs, monkeypatch):
    documents = []
    for partition_rows in (11, 10**6):
        monkeypatch.setattr(whole_run, "PARTITION_ROWS", partition_rows)
        documents.append(compare(*two_runs, executor="local"))
    few, many = documents
    assert few.confidence.mean_a == pytest.approx(many.confidence.mean_a, rel=1e-12)
    assert few.confidence.mean_b == pytest.approx(many.confidence.mean_b, rel=1e-12)
    same = few.model_copy(update={"confidence": many.confidence})
    assert same == many
    assert many.changed > 0
    assert many.duplicates.ids > 0


def test_the_temporary_folder_is_gone_also_after_a_failure(
    two_runs, tmp_path, monkeypatch
):
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spill))
    list(local_shuffle.partitions(*two_runs))
    assert list(spill.iterdir()) == []
    a, b = two_runs
    b.files.append((str(tmp_path / "part-that-is-missing.parquet"), 3))
    with pytest.raises(InputError, match="part-that-is-missing"):
        list(local_shuffle.partitions(a, b))
    assert list(spill.iterdir()) == []


def test_hashes_spread_ids_evenly():
    import pyarrow as pa

    ids = pa.chunked_array([[str(number) for number in range(20_000)]])
    counts = np.bincount(local_shuffle._buckets(ids, 8))
    assert counts.min() > 2_000
    assert counts.max() < 3_000

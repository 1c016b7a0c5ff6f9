"""The files of a run folder: which must be there, and which may not."""

import dataclasses
import shutil

import duckdb
import pandas as pd
import pyarrow.dataset
import pytest

from rubert_ood.errors import InputError, VerificationError
from rubert_ood.runs.files import missing_files

FILES = [f"data-{number:05d}-of-00003.parquet" for number in range(3)]


def _missing(run) -> dict[str, str]:
    return missing_files(run.plan, run.by_id, FILES if run.plan.is_sealed else ())


def test_missing_files_of_a_whole_run_are_none(full_run, older_run):
    assert [path.name for path in full_run.files] == FILES
    assert _missing(full_run) == {}
    assert _missing(older_run) == {}


def test_missing_files_name_each_file_and_each_shard_whose_rejected_rows_are_gone(run):
    rejected = run.plan.shards[4]
    assert run.receipts[4].rows_rejected
    run.files[1].unlink()
    (run.folder / rejected.rejected_name).unlink()
    assert _missing(run) == {
        FILES[1]: f"{run.folder}: {FILES[1]} is missing",
        rejected.shard_id: f"{run.folder}: {rejected.rejected_name} is missing",
    }


def test_missing_files_ask_for_no_part_of_a_sealed_run(run):
    shutil.rmtree(run.part(0).parent)
    assert _missing(run) == {}


def test_missing_files_of_an_older_run_name_each_shard_whose_part_is_gone(older_run):
    lost = older_run.plan.shards[3]
    older_run.part(3).unlink()
    line = f"{older_run.folder}: {lost.older_part_name} is missing"
    assert _missing(older_run) == {lost.shard_id: line}


def test_missing_files_ask_for_no_file_of_a_shard_without_a_receipt(older_run):
    older_run.part(3).unlink()
    some = {r.shard_id: r for n, r in enumerate(older_run.receipts) if n != 3}
    assert missing_files(older_run.plan, some) == {}


def test_missing_files_refuse_the_part_of_a_shard_without_a_receipt(older_run):
    """As a start leaves it that was killed between part and receipt: a reader would take it."""
    some = {r.shard_id: r for n, r in enumerate(older_run.receipts) if n != 3}
    with pytest.raises(
        VerificationError, match=rf"{older_run.part(3).name} is not a file of this"
    ):
        missing_files(older_run.plan, some)


def test_missing_files_refuse_a_sealed_file_that_is_not_in_the_layout(run):
    shutil.copy(run.files[0], run.folder / "data-00003-of-00004.parquet")
    with pytest.raises(VerificationError, match=r"data-00003-of-00004.* is not a file"):
        _missing(run)


def test_missing_files_refuse_rejected_rows_of_a_shard_that_rejected_none(run):
    name = run.plan.shards[2].rejected_name
    assert run.receipts[2].rows_rejected == 0
    shutil.copy(run.folder / run.plan.shards[4].rejected_name, run.folder / name)
    with pytest.raises(VerificationError, match=rf"{name} is not a file of this run"):
        _missing(run)


def test_missing_files_take_rejected_rows_of_a_shard_that_was_quarantined_after_them(run):
    shard = run.plan.shards[4]
    assert (run.folder / shard.rejected_name).exists()
    others = {r.shard_id: r for r in run.receipts if r.shard_id != shard.shard_id}
    assert missing_files(run.plan, others, FILES) == {}


def test_missing_files_of_version_0_2_0_take_rejected_rows_by_their_older_name(older_run):
    run, shard = older_run, older_run.plan.shards[4]
    new, old = run.folder / shard.rejected_name, run.folder / shard.older_rejected_name
    new.rename(old)
    assert _missing(run) == {}
    shutil.copy(old, new)  # both: one is not of this run
    with pytest.raises(VerificationError, match=rf"{shard.rejected_name} is not a file"):
        _missing(run)


def test_missing_files_name_the_first_of_several_strangers_and_their_number(run):
    for name in ("z.csv", "b.parquet", "a/x"):
        (run.folder / name).parent.mkdir(exist_ok=True)
        (run.folder / name).write_bytes(b"x")
    with pytest.raises(VerificationError) as caught:
        _missing(run)
    assert str(caught.value) == (
        f"{run.folder}: a/x is not a file of this run (3 files in all). Remove it"
    )


def test_missing_files_of_a_folder_that_is_gone_is_an_error(run, tmp_path):
    plan = dataclasses.replace(run.plan, run_uri=str(tmp_path / "gone"))
    with pytest.raises(InputError, match="no such file"):
        missing_files(plan, {})


@pytest.mark.parametrize(
    "name",
    [
        "part-99999-0123abcd.parquet",
        "deep/er/part-1.parquet",
        "x=1/ads.PARQ",
        "more.pq",
        "no_suffix",
        "ads.csv",
        "_run/ads.parquet",
        "_errors/ads.parquet",
        ".hidden/ads.parquet",
    ],
)
def test_missing_files_with_a_file_that_a_reader_would_take_for_ads_names_its_path(
    run, name
):
    path = run.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(run.files[0], path)
    with pytest.raises(
        VerificationError,
        match=rf"{run.folder}: {name} is not a file of this run \(1 file in all\)",
    ):
        _missing(run)


@pytest.mark.parametrize(
    "kind", ["link to a file", "link to nowhere", "linked folder", "loop"]
)
def test_missing_files_with_a_link_below_names_it(run, tmp_path, kind):
    path = run.folder / "more"
    if kind == "linked folder":
        (tmp_path / "else").mkdir()
        shutil.copy(run.files[0], tmp_path / "else" / "a.parquet")
    targets = {
        "link to a file": run.files[0],
        "linked folder": tmp_path / "else",
        "loop": run.folder,
    }
    path.symlink_to(targets.get(kind, tmp_path / "gone"))
    with pytest.raises(
        VerificationError, match=r"more(/a\.parquet)? is not a file of this run"
    ):
        _missing(run)


def test_missing_files_with_what_no_reader_takes_lets_it_be(run):
    for name in (
        "_SUCCESS",
        ".1234.tmp",
        "_run/notes.txt",
        ".part-1.parquet.crc",
        "_errors/.1.rejected.lock",
    ):
        (run.folder / name).write_bytes(b"x")
    assert _missing(run) == {}


def test_readers_of_a_run_folder_see_scored_ads_alone(full_run):
    """By the widest globs that readers use: neither parts nor rejected rows are among them."""
    assert full_run.part(0).exists()
    num_scored = sum(receipt.rows_scored for receipt in full_run.receipts)
    assert sum(receipt.rows_rejected for receipt in full_run.receipts) > 0
    for pattern in ("**/*.parquet", "**/*.par*", "**/*.[Pp]*q*"):
        found = duckdb.sql(
            f"SELECT count(*) FROM read_parquet('{full_run.folder}/{pattern}')"
        ).fetchall()
        assert found == [(num_scored,)], pattern
    assert pyarrow.dataset.dataset(full_run.folder).count_rows() == num_scored
    assert len(pd.read_parquet(full_run.folder)) == num_scored

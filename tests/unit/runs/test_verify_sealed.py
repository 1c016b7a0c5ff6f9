"""A sealed run: its files are compared with their seals and with the receipts of their parts, also
when the parts are gone. What is compared of a file is in test_check_sealed.py."""

import dataclasses
import json
import shutil

import pytest

from rubert_ood.errors import PartialRunError, VerificationError
from rubert_ood.runs.manifest import MANIFEST
from rubert_ood.runs.receipts import put_quarantine
from rubert_ood.runs.verify import (
    PartMismatchError,
    SealMismatchError,
    check_manifest,
    complete_manifest,
    verify_run,
)
from tests.unit.messy_runs import seal_plan

STARTED = "2026-11-24T03:00:00+00:00"


@pytest.fixture
def published(run):
    """A run whose parts are gone."""
    shutil.rmtree(run.part(0).parent)
    return run


def test_verify_of_a_sealed_run_needs_no_part(published):
    verified = verify_run(published.plan)
    assert list(verified.receipts.values()) == published.receipts
    assert [file.path for file in verified.files] == [p.name for p in published.files]
    assert sum(file.rows for file in verified.files) == 103


def test_verify_counts_the_same_duplicate_ids_as_in_the_parts(published, older_run):
    assert verify_run(published.plan).duplicates == verify_run(older_run.plan).duplicates


def test_verify_of_sorted_files_names_duplicate_ids_with_the_files_of_the_run(make_run):
    run = make_run(starts=(0, 5), sort_by="ad_id")
    duplicates = verify_run(run.plan).duplicates
    assert (duplicates.ids, duplicates.rows) == (1, 1)
    (example,) = duplicates.examples
    assert (example.ad_id, example.files) == ("ad-032", [str(run.files[0])])


def test_verify_of_a_run_that_is_not_sealed_is_partial(run):
    for path in (run.folder / "_run" / "seals").iterdir():
        path.unlink()
        break
    with pytest.raises(PartialRunError, match="1 of 3 files are not sealed") as error:
        verify_run(run.plan)
    assert error.value.exit_code == 6
    (run.folder / "_run" / "layout.json").unlink()
    with pytest.raises(PartialRunError, match="the files are not sealed"):
        verify_run(run.plan)


def test_verify_names_every_file_that_is_missing_or_damaged(published):
    first, second, third = published.files
    first.unlink()
    third.write_bytes(third.read_bytes()[:-9])
    with pytest.raises(
        SealMismatchError, match=rf"{first.name} is missing \(2 problems in all\)"
    ) as error:
        verify_run(published.plan)
    assert sorted(error.value.paths) == [first.name, third.name]
    assert error.value.exit_code == 1
    assert second.exists()


def test_verify_names_shards_first_whose_rejected_rows_are_missing(published):
    shard = published.plan.shards[4]
    (published.folder / shard.rejected_name).unlink()
    published.files[0].unlink()
    with pytest.raises(
        PartMismatchError, match=rf"{shard.rejected_name} is mis"
    ) as error:
        verify_run(published.plan)
    assert error.value.shard_ids == [shard.shard_id]


def test_verify_finds_a_receipt_that_is_not_the_one_that_was_sealed(published):
    path = published.folder / "_run" / "receipts"
    path /= f"{published.plan.shards[7].shard_id}.json"
    receipt = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(receipt | {"part_sha256": "0" * 64}), "utf-8")
    with pytest.raises(PartialRunError, match="1 of 3 files are not sealed"):
        verify_run(published.plan)


def test_verify_of_a_quarantined_shard_takes_the_files_without_it(run):
    shard = run.plan.shards[3]
    receipts = [receipt for n, receipt in enumerate(run.receipts) if n != 3]
    (run.folder / "_run" / "receipts" / f"{shard.shard_id}.json").unlink()
    put_quarantine(run.plan, shard, "b.parquet: damaged")
    with pytest.raises(PartialRunError, match="1 of 3 files are not sealed"):
        verify_run(run.plan)
    seal_plan(run.plan, receipts, (0, 5, 9))
    verified = verify_run(run.plan)
    assert list(verified.quarantined) == [shard.shard_id]
    assert sum(file.rows for file in verified.files) == 103 - run.receipts[3].rows_scored


def test_manifest_lists_the_files_and_an_edit_is_found(published):
    verified = verify_run(published.plan)
    manifest = complete_manifest(published.plan, verified, STARTED)
    assert manifest.files == verified.files
    check_manifest(manifest, manifest)
    for change in ({"sha256": "0" * 64}, {"rows": 1}, {"bytes": 1}, {"path": "x"}):
        file = manifest.files[1].model_copy(update=change)
        files = [manifest.files[0], file, manifest.files[2]]
        edited = manifest.model_copy(update={"files": files})
        with pytest.raises(
            VerificationError, match="files differs from what the receipts"
        ):
            check_manifest(edited, manifest)


def test_manifest_of_an_older_run_lists_its_parts(older_run):
    verified = verify_run(older_run.plan)
    manifest = complete_manifest(older_run.plan, verified, STARTED)
    as_written = MANIFEST.validate_json(json.dumps(older_run.older_manifest(manifest)))
    check_manifest(as_written, manifest)
    for found in (manifest, as_written):
        assert [(file.path, file.sha256, file.rows) for file in found.files] == [
            (older_run.part(n).name, receipt.part_sha256, receipt.rows_scored)
            for n, receipt in enumerate(older_run.receipts)
        ]


def test_verify_of_another_fingerprint_is_partial(published):
    plan = dataclasses.replace(published.plan, fingerprint="0" * 64)
    with pytest.raises(PartialRunError, match="12 of 12 shards are not scored"):
        verify_run(plan)

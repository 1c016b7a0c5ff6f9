"""A published run whose seal or layout is lost: its manifest says what they said."""

import shutil

import pytest

from rubert_ood.errors import PartialRunError, VerificationError
from rubert_ood.runs.manifest import Manifest, manifest_uri
from rubert_ood.runs.sealed import read_sealed
from rubert_ood.runs.verify import check_manifest, complete_manifest, verify_run
from rubert_ood.storage import put_bytes, to_json
from tests.unit.messy_runs import Run, seal_plan

STARTED = "2026-11-24T03:00:00+00:00"


def _publish(run: Run, outcome: str = "published", **edits: object) -> Run:
    """Leave the manifest, and take the parts away."""
    manifest = complete_manifest(run.plan, verify_run(run.plan), STARTED)
    noted = manifest.model_copy(update={"outcome": outcome, **edits})
    put_bytes(manifest_uri(run.plan.run_uri), to_json(noted))
    shutil.rmtree(run.part(0).parent)
    return run


def _lose_seals(run: Run) -> None:
    shutil.rmtree(run.folder / "_run" / "seals")


def _lose_one(run: Run) -> None:
    (run.folder / "_run" / "seals" / "data-00001-of-00003.json").unlink()


def _lose_layout(run: Run) -> None:
    (run.folder / "_run" / "layout.json").unlink()


def _lose_all(run: Run) -> None:
    _lose_seals(run)
    _lose_layout(run)


@pytest.mark.parametrize("lose", [_lose_one, _lose_seals, _lose_layout, _lose_all])
@pytest.mark.parametrize("outcome", ["published", "rolled_back"])
def test_verify_of_a_published_run_that_lost_seals_or_layout_takes_the_manifest(
    run, lose, outcome, caplog
):
    _publish(run, outcome)
    before = verify_run(run.plan)
    sealed = read_sealed(run.plan, run.by_id)
    lose(run)
    found = read_sealed(run.plan, run.by_id)
    assert [seal for _, seal in found] == [seal for _, seal in sealed]
    assert [group.shards for group, _ in found] == [group.shards for group, _ in sealed]
    verified = verify_run(run.plan)
    assert (verified.files, verified.duplicates) == (before.files, before.duplicates)
    manifest = complete_manifest(run.plan, verified)
    check_manifest(complete_manifest(run.plan, before), manifest)
    assert "goes by the manifest" in caplog.text


@pytest.mark.parametrize("starts", [(0, 1), (0, 7, 8), (0, 11), (0, 3, 7, 8, 10, 11)])
@pytest.mark.parametrize("missing", [(), (0, 1, 2), (7,), (3, 10), (11,)])
def test_read_sealed_without_seals_and_layout_cuts_files_of_the_same_rows(
    run, starts, missing
):
    """Shards without a row, and files without a shard, are at each place."""
    receipts = [receipt for n, receipt in enumerate(run.receipts) if n not in missing]
    for path in run.files:
        path.unlink()
    _lose_all(run)
    seal_plan(run.plan, receipts, starts)
    by_id = {receipt.shard_id: receipt for receipt in receipts}
    files = [seal.data_file for _, seal in read_sealed(run.plan, by_id)]
    manifest = Manifest.of(
        run.plan, by_id, outcome="published", started_at=STARTED, files=files
    )
    put_bytes(manifest_uri(run.plan.run_uri), to_json(manifest))
    _lose_all(run)
    found = read_sealed(run.plan, by_id)
    assert [seal.data_file for _, seal in found] == files
    shards = [shard.shard_id for group, _ in found for shard in group.shards]
    assert shards == [receipt.shard_id for receipt in receipts]


@pytest.mark.parametrize("lose", [_lose_one, _lose_layout])
@pytest.mark.parametrize(
    "edit",
    [{"parts_sha256": "0" * 64}, {"fingerprint": "0" * 64}, {"files": []}],
)
def test_verify_of_a_published_run_whose_manifest_is_of_others_says_what_to_do(
    run, lose, edit
):
    _publish(run, **edit)
    lose(run)
    words = "files are not sealed, which a published run cannot mend"
    with pytest.raises(VerificationError, match=words) as error:
        verify_run(run.plan)
    assert (
        "Run `rollback` if readers see this run, then score under another run_id"
        in str(error.value)
    )


def test_verify_finds_a_file_that_is_not_the_one_of_the_manifest(run):
    _publish(run)
    _lose_all(run)
    path = run.files[2]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        VerificationError, match=f"{path.name}: the file changed after it was sealed"
    ):
        verify_run(run.plan)


def test_verify_of_a_published_run_that_lost_a_receipt_says_what_to_do(run):
    _publish(run)
    shard = run.plan.shards[5]
    (run.folder / "_run" / "receipts" / f"{shard.shard_id}.json").unlink()
    words = "1 of 12 shards are not scored, which a published run cannot mend"
    with pytest.raises(VerificationError, match=words):
        verify_run(run.plan)


def test_verify_of_a_run_that_runs_again_does_not_take_the_manifest(run):
    _publish(run, "running")
    _lose_one(run)
    with pytest.raises(PartialRunError, match=r"1 of 3 files are not sealed\. Run its"):
        verify_run(run.plan)

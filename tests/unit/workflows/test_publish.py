import shutil
from pathlib import Path

import pytest

from rubert_ood.errors import (
    ErrorRateError,
    InputError,
    PartialRunError,
    PublicationRefusedError,
    VerificationError,
)
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.settings import GateSettings, PublishSettings
from rubert_ood.workflows.publish import publish

OPEN = GateSettings(
    max_error_rate=1, max_ood_rate=1, max_other_rate=1, max_duplicate_rate=1
)


def _publish(run_uri: str, gate: GateSettings = OPEN, force: str | None = None):
    return publish(PublishSettings(run_uri=run_uri, gate=gate, force=force))


def test_publish_counts_the_receipts_again_and_lets_readers_see_the_run(
    place, out, full_run
):
    run_uri = place("r1")
    manifest = _publish(run_uri)
    assert manifest.outcome == "published"
    assert manifest.counts.rows_scored == sum(r.rows_scored for r in full_run.receipts)
    assert read_manifest(run_uri) == manifest
    assert read_pointer(str(out)).path == "run_date=2026-11-24/run_id=r1"


def test_publish_of_a_run_that_the_gate_refuses_is_done_by_force_with_its_reason(
    place, out
):
    run_uri = place("r1")
    with pytest.raises(ErrorRateError, match=r"gate\.max_error_rate"):
        _publish(run_uri, GateSettings())
    assert read_pointer(str(out)) is None
    assert read_manifest(run_uri).outcome == "refused"
    forced = _publish(run_uri, GateSettings(), force="seen by hand")
    assert (forced.outcome, forced.forced) == ("published", "seen by hand")


def test_publish_of_a_run_that_readers_have_left_says_what_they_see(place, out):
    first = place("r1")
    _publish(first)
    _publish(place("r2"))
    with pytest.raises(
        PublicationRefusedError,
        match=r"was published before run_date=2026-11-24/run_id=r2",
    ):
        _publish(first)
    assert read_pointer(str(out)).path == "run_date=2026-11-24/run_id=r2"
    _publish(first, force="r2 is wrong")
    assert read_pointer(str(out)).path == "run_date=2026-11-24/run_id=r1"


def test_publish_lets_the_parts_go_once_readers_have_the_files(place, out):
    run_uri = place("r1")
    assert len(list(Path(run_uri, "_parts").iterdir())) == 12
    with pytest.raises(ErrorRateError):
        _publish(run_uri, GateSettings())
    assert len(list(Path(run_uri, "_parts").iterdir())) == 12
    manifest = _publish(run_uri)
    assert list(Path(run_uri, "_parts").iterdir()) == []
    found = {path.name for path in Path(run_uri).glob("*.parquet")}
    assert {file.path for file in manifest.files} == found


def test_publish_of_a_run_of_version_0_4_0_publishes_its_parts(older_run, out):
    run_uri = shutil.copytree(older_run.folder, out / "run_date=2026-11-24" / "run_id=r1")
    before = {path.name for path in run_uri.glob("part-*.parquet")}
    assert len(before) == 12
    _publish(str(run_uri))
    assert {path.name for path in run_uri.glob("*.parquet")} == before


def test_publish_of_a_run_with_a_damaged_file_publishes_nothing(place, out):
    run_uri = place("r1")
    next(Path(run_uri).glob("data-*")).write_bytes(b"x")
    with pytest.raises(VerificationError, match=r"data-.*\.parquet"):
        _publish(run_uri)
    assert read_pointer(str(out)) is None


def test_publish_of_a_run_that_is_not_whole_is_partial(place, out):
    run_uri = place("r1")
    next(Path(run_uri, "_run", "receipts").iterdir()).unlink()
    with pytest.raises(PartialRunError, match="1 of 12 shards are not scored"):
        _publish(run_uri)
    assert not (out / "latest.json").exists()


def test_publish_of_a_folder_that_is_not_a_run_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="not the folder of a run"):
        _publish(str(tmp_path))

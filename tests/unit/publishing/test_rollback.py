import shutil
from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.errors import (
    InputError,
    PublicationRefusedError,
    StorageUnavailableError,
)
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.runs.manifest import Manifest, read_manifest
from rubert_ood.settings import GateSettings
from tests.conftest import patch_storage
from tests.unit.publishing.manifests import a_manifest, put_manifest


def _publish(manifest: Manifest) -> Manifest:
    put_manifest(manifest)
    return publish_run(manifest, GateSettings(max_class_shift=1))


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "out")


def test_rolling_back_goes_from_run_to_run(out):
    runs = [_publish(a_manifest(out, name)) for name in ("r1", "r2", "r3")]
    assert read_pointer(out).history == [
        "run_date=2026-11-24/run_id=r2",
        "run_date=2026-11-24/run_id=r1",
    ]
    for current, before in ((2, 1), (1, 0)):
        pointer = roll_back(out, "wrong labels")
        assert pointer == read_pointer(out)
        assert pointer.run_id == runs[before].run_id
        bad = f"run_date=2026-11-24/run_id=r{current + 1}"
        assert (pointer.rolled_back.path, pointer.rolled_back.reason) == (
            bad,
            "wrong labels",
        )
        assert pointer.taken_back[0] == bad
        stored = read_manifest(runs[current].run_uri)
        assert (stored.outcome, stored.rollback_reason) == ("rolled_back", "wrong labels")
    with pytest.raises(InputError, match="only one run was published here, so nothing"):
        roll_back(out, "again")
    assert read_pointer(out).run_id == "r1"
    _publish(a_manifest(out, "r4"))
    assert read_pointer(out).history == ["run_date=2026-11-24/run_id=r1"]


def test_rollback_of_nothing_is_refused(out):
    with pytest.raises(InputError, match="no run was published"):
        roll_back(out, "x")


def test_a_rollback_to_a_run_that_is_gone_changes_nothing(out):
    first = _publish(a_manifest(out, "r1"))
    _publish(a_manifest(out, "r2"))
    pointer = Path(out, "latest.json").read_bytes()
    shutil.rmtree(first.run_uri)
    with pytest.raises(InputError, match="run_id=r1"):
        roll_back(out, "x")
    assert Path(out, "latest.json").read_bytes() == pointer


def test_a_rollback_whose_answer_got_lost_takes_back_one_run_only(out, monkeypatch):
    for name in ("r1", "r2", "r3"):
        _publish(a_manifest(out, name))
    swap = storage.swap_bytes
    patch_storage(
        monkeypatch, "swap_bytes", lambda *arguments: swap(*arguments) and False
    )
    assert roll_back(out, "x").run_id == "r2"
    assert read_pointer(out).history == ["run_date=2026-11-24/run_id=r1"]


def test_a_rollback_that_cannot_be_noted_has_taken_place_and_says_so(
    out, monkeypatch, caplog
):
    """An error would say that the same command goes on, and it would take one more run back."""
    runs = [_publish(a_manifest(out, name)) for name in ("r1", "r2", "r3")]
    swap = storage.swap_bytes

    def fails(uri, data, version):
        if uri.endswith("manifest.json"):
            raise StorageUnavailableError(f"{uri}: storage does not answer")
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", fails)
    assert roll_back(out, "wrong labels").run_id == "r2"
    assert "rolled back, but its manifest does not say so" in caplog.text
    patch_storage(monkeypatch, "swap_bytes", swap)
    with pytest.raises(PublicationRefusedError, match=r"rolled back \(wrong labels\)"):
        publish_run(runs[2], GateSettings(max_class_shift=1))


def test_a_rollback_while_another_run_is_published_takes_back_nothing(out, monkeypatch):
    for name in ("r1", "r2"):
        _publish(a_manifest(out, name))
    swap, rivals = storage.swap_bytes, [a_manifest(out, "r3")]

    def late(uri, data, version):
        if rivals and uri.endswith("latest.json"):
            _publish(rivals.pop())
        return swap(uri, data, version)

    patch_storage(monkeypatch, "swap_bytes", late)
    with pytest.raises(
        PublicationRefusedError,
        match=r"nothing was rolled back, because .*run_id=r3 was published meanwhile",
    ):
        roll_back(out, "wrong labels")
    assert (read_pointer(out).run_id, read_pointer(out).taken_back) == ("r3", [])


def test_a_rollback_of_a_run_that_was_moved_writes_nothing_outside_the_output(
    out, tmp_path
):
    """The manifest still has the path of the folder in which the run was made."""
    for name in ("r1", "r2"):
        _publish(a_manifest(out, name))
    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    before = {path: path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}
    assert roll_back(str(moved), "wrong labels").run_id == "r1"
    assert {path: path.read_bytes() for path in before} == before
    assert (
        read_manifest(f"{moved}/run_date=2026-11-24/run_id=r2").outcome == "rolled_back"
    )

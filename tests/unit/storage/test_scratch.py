"""What needs the local disk, where that is full: one line that says where, and what to do."""

import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from rubert_ood.comparing import local_shuffle
from rubert_ood.comparing.whole_run import read_run
from rubert_ood.errors import OutputError
from rubert_ood.runs.duplicate_ids import IDS_SCHEMA, find_duplicates
from rubert_ood.runs.manifest import Manifest, manifest_uri
from rubert_ood.runs.verify import complete_manifest, verify_run
from rubert_ood.storage import put_json
from rubert_ood.storage.scratch import scratch_folder

ADVICE = r"Make room there, or set TMPDIR to another folder"


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder for temporary files in which no file may grow beyond some bytes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, most))
    yield str(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_scratch_folder_is_gone_afterwards():
    with scratch_folder("x_") as folder:
        Path(folder, "a").write_text("a")
    assert not Path(folder).exists()


def test_scratch_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    gone = str(tmp_path / "gone")
    monkeypatch.setenv("TMPDIR", gone)
    monkeypatch.setattr(tempfile, "tempdir", gone)
    with (
        pytest.raises(OutputError, match=rf"^{gone}: this folder .*{ADVICE}$"),
        scratch_folder("x_"),
    ):
        pytest.fail("there is no such folder")


def test_find_duplicates_on_a_disk_that_is_full_is_one_line(full):
    ids = pa.table([["a", "b"], [0, 0]], schema=IDS_SCHEMA)
    with pytest.raises(OutputError, match=rf"^{full}: this folder .*{ADVICE}$"):
        find_duplicates(iter([ids]), ["a.parquet"])


def test_local_shuffle_on_a_disk_that_is_full_is_one_line(run, request):
    manifest: Manifest = complete_manifest(run.plan, verify_run(run.plan))
    put_json(manifest_uri(run.plan.run_uri), manifest)
    whole = read_run(run.plan.run_uri)
    full = request.getfixturevalue("full")
    with pytest.raises(OutputError, match=rf"^{full}: this folder .*{ADVICE}$"):
        list(local_shuffle.partitions(whole, whole))

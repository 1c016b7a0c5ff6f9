"""Sealing on a real S3 server: created once, by one put, and the parts go in few requests."""

import os
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.errors import PartialRunError
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.parts import drop_parts
from rubert_ood.runs.verify import SealMismatchError, verify_run
from rubert_ood.sealing import layout
from rubert_ood.sealing.seal_run import seal_run
from rubert_ood.settings import ScoreSettings
from rubert_ood.storage.folders import remove_files
from tests.s3.proxy import SLOW_DOWN, Fault

SETTINGS = ScoreSettings(
    input_uri="/in", bundle_uri="/b", output_uri="/out", executor="local"
)


@pytest.fixture
def scored(full_run, s3, monkeypatch, request):
    """The run in a bucket, scored and not sealed."""
    monkeypatch.setattr(layout, "cut_files", lambda plan, receipts: [0, 5, 9])
    run = full_run.moved(f"{s3}/{request.node.name}/run_date=2026-11-24/run_id=r")
    for path in full_run.folder.rglob("*"):
        name = str(path.relative_to(full_run.folder))
        is_sealed = "seals" in name or "layout" in name or name.startswith("data-")
        if path.is_file() and not is_sealed:
            storage.put_bytes(f"{run.plan.run_uri}/{name}", path.read_bytes())
    return run


def _seal(run) -> None:
    seal_run(run.plan, run.by_id, SETTINGS, Claim(run.plan.run_uri))


def test_a_run_is_sealed_verified_and_read_and_its_parts_go(scored, full_run, direct):
    _seal(scored)
    verified = verify_run(scored.plan)
    folder = scored.plan.run_uri.removeprefix("s3://")
    assert direct.glob(f"{folder}/**/*.parquet") == [
        f"{folder}/{file.path}" for file in verified.files
    ]
    for file, path in zip(verified.files, full_run.files, strict=True):
        assert direct.cat_file(f"{folder}/{file.path}") == path.read_bytes()
    assert len(direct.ls(f"{folder}/_parts")) == 12
    drop_parts(scored.plan.run_uri)
    # SeaweedFS keeps the empty folder
    assert [path for path in direct.find(folder) if path.endswith(".scored")] == []
    assert verify_run(scored.plan).files == verified.files
    filesystem = pa.fs.PyFileSystem(pa.fs.FSSpecHandler(direct))
    found = pyarrow.dataset.dataset(folder, filesystem=filesystem).to_table()
    expected = pa.concat_tables([pq.read_table(path) for path in full_run.files])
    assert found.equals(expected)


def test_two_starts_at_once_seal_the_same_files_once(proxy, scored, direct):
    """Both race for each object; the older one ends when it sees the newer one's claim."""

    def start(_: int) -> str:
        try:
            _seal(scored)
        except PartialRunError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        ends = sorted(pool.map(start, range(2)))
    assert ends[0] == ""
    assert ends[1] == "" or "has claimed this run" in ends[1]
    _seal(scored)
    verified = verify_run(scored.plan)
    assert sum(file.rows for file in verified.files) == 103
    puts = [request for request in proxy.requests if request.method == "PUT"]
    for file in verified.files:
        assert any(file.path in request.target for request in puts)
    folder = scored.plan.run_uri.removeprefix("s3://")
    assert len(direct.glob(f"{folder}/data-*")) == 3


def test_a_damaged_file_is_found_and_sealed_again(scored, full_run):
    _seal(scored)
    uri = f"{scored.plan.run_uri}/{full_run.files[1].name}"
    storage.put_bytes(uri, b"PAR1")
    with pytest.raises(SealMismatchError) as error:
        verify_run(scored.plan)
    claim = Claim(scored.plan.run_uri)
    seal_run(scored.plan, scored.by_id, SETTINGS, claim, error.value.paths)
    assert storage.read_bytes(uri) == full_run.files[1].read_bytes()
    verify_run(scored.plan)


def test_a_file_of_130_mb_is_created_once_by_one_put(proxy, s3, direct):
    """Of more than 100 MB s3fs makes several parts, and drops the condition: it must not here."""
    uri, data = f"{s3}/large/data-00000-of-00001.parquet", os.urandom(130 * 10**6)
    assert storage.create_bytes(uri, data)
    assert not storage.create_bytes(uri, data[::-1])
    assert direct.info(uri)["size"] == len(data)
    assert direct.cat_file(uri, start=0, end=99) == data[:99]
    puts = [request for request in proxy.requests if "data-00000" in request.target]
    assert {request.method for request in puts} == {"PUT"}
    assert not any("uploadId" in request.target for request in puts)


def test_remove_files_takes_more_than_one_request_holds_and_what_is_gone(s3, direct):
    uris = [f"{s3}/removed/_parts/{number:05d}.scored" for number in range(1203)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda uri: storage.put_bytes(uri, b"x"), uris))
    keep = f"{s3}/removed/keep"
    storage.put_bytes(keep, b"x")
    remove_files([*uris, f"{s3}/removed/gone"])
    assert direct.find(f"{s3}/removed") == [keep.removeprefix("s3://")]
    remove_files([])


@pytest.mark.parametrize(
    "fault", [Fault("lose answer"), Fault("reset upload"), SLOW_DOWN]
)
def test_sealing_behind_a_failing_network_ends_with_the_same_files(
    proxy, scored, full_run, fault
):
    proxy.rule = lambda request: (
        fault if request.method == "PUT" and request.attempt == 0 else None
    )
    _seal(scored)
    proxy.rule = lambda request: None
    assert proxy.faults[fault] >= 6
    for file, path in zip(verify_run(scored.plan).files, full_run.files, strict=True):
        uri = f"{scored.plan.run_uri}/{file.path}"
        assert storage.read_bytes(uri) == path.read_bytes()

"""Conditional puts against servers that honour them, ignore them, refuse them, or have lost the
object meanwhile."""

from collections.abc import Iterator

import pytest
import s3fs

from rubert_ood import storage
from rubert_ood.errors import OutputError, PartialRunError
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.publishing.publish import publish_run
from rubert_ood.runs.manifest import Manifest
from rubert_ood.settings import GateSettings
from tests.conftest import patch_storage
from tests.s3.plain_server import PlainServer, plain_server
from tests.unit.publishing.manifests import a_manifest, changed, put_manifest

OUT = "s3://bucket/out"
URI = f"{OUT}/latest.json"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlainServer]:
    with plain_server() as server:
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "RUBERT_OOD_RETRY_S": "2",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        storage.objects._s3.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()
        yield server
        storage.objects._s3.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()


def _publish(run_id: str) -> Manifest:
    manifest = a_manifest(OUT, run_id)
    put_manifest(manifest)
    return publish_run(manifest, GateSettings(max_class_shift=1))


def test_swap_bytes_replaces_only_the_version_that_was_read(server):
    assert storage.read_versioned(URI) == (None, "")
    assert storage.create_bytes(URI, b"1")
    assert not storage.create_bytes(URI, b"2")
    data, version = storage.read_versioned(URI)
    assert data == b"1"
    assert storage.swap_bytes(URI, b"3", version)
    assert not storage.swap_bytes(URI, b"4", version)
    assert storage.read_bytes(URI) == b"3"
    assert server.conditional_puts == 4


def test_swap_bytes_of_an_object_that_was_deleted_meanwhile_says_no(server):
    storage.put_bytes(URI, b"1")
    _, version = storage.read_versioned(URI)
    server.treatment = "gone"
    assert not storage.swap_bytes(URI, b"2", version)
    assert storage.read_versioned(URI) == (None, "")
    assert storage.swap_bytes(URI, b"2", "")


def test_swap_bytes_that_conflicts_with_another_put_says_no(server):
    server.treatment = "conflict"
    assert not storage.create_bytes(URI, b"1")
    assert storage.read_versioned(URI) == (None, "")


@pytest.mark.parametrize("status", [501, 400])
def test_swap_bytes_on_a_server_without_conditions_asks_for_the_version_first(
    server, status
):
    server.treatment = f"refuses {status}"
    assert storage.create_bytes(URI, b"1")
    assert not storage.create_bytes(URI, b"2")
    _, version = storage.read_versioned(URI)
    assert storage.swap_bytes(URI, b"3", version)
    assert not storage.swap_bytes(URI, b"4", version)
    assert storage.read_bytes(URI) == b"3"


def test_swap_bytes_that_is_denied_is_an_error_of_the_output(server):
    server.treatment = "refuses 403"
    with pytest.raises(OutputError, match=URI):
        storage.create_bytes(URI, b"1")


def test_swap_bytes_of_a_large_object_keeps_its_condition(server):
    """s3fs drops it from a multipart upload, which begins at 100 MiB."""
    large = bytes(101 * 2**20)
    assert storage.create_bytes(URI, large)
    assert not storage.create_bytes(URI, large)
    _, version = storage.read_versioned(URI)
    storage.put_bytes(URI, b"another")
    assert not storage.swap_bytes(URI, large, version)
    assert storage.read_bytes(URI) == b"another"


@pytest.mark.parametrize("treatment", ["honours", "ignores", "refuses 501"])
def test_publish_run_says_whether_two_publishers_are_safe(server, caplog, treatment):
    server.treatment = treatment
    for name in ("r1", "r2"):
        assert _publish(name).outcome == "published"
    assert [path.rpartition("=")[2] for path in read_pointer(OUT).paths] == ["r2", "r1"]
    assert ("or the history may lose a run" in caplog.text) == (treatment == "ignores")


def test_publish_run_on_a_server_that_ignores_conditions_sees_that_it_was_overwritten(
    server, monkeypatch
):
    """Another publisher has looked before and puts after: what is read again is not ours, and the
    gate asks again."""
    _publish("r1")
    server.treatment = "ignores"
    swap, rivals = (
        storage.swap_bytes,
        [server.objects["/bucket/out/latest.json"].replace(b"r1", b"rival")],
    )

    def overwritten(uri, data, version):
        swapped = swap(uri, data, version)
        if rivals and uri == URI:
            put_manifest(changed(a_manifest(OUT, "rival"), outcome="published"))
            server.objects["/bucket/out/latest.json"] = rivals.pop()
        return swapped

    patch_storage(monkeypatch, "swap_bytes", overwritten)
    _publish("r2")
    assert [path.rpartition("=")[2] for path in read_pointer(OUT).paths] == [
        "r2",
        "rival",
    ]


def test_publish_run_gives_up_when_every_swap_conflicts(server):
    manifest = a_manifest(OUT)
    put_manifest(manifest)
    server.treatment = "conflict"
    with pytest.raises(PartialRunError, match="Publish again"):
        publish_run(manifest, GateSettings())
    assert read_pointer(OUT) is None

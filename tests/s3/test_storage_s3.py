"""storage.py against a real S3 server."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.bundle import load_bundle
from rubert_ood.errors import BundleError, InputError
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.storage import folders
from rubert_ood.storage.listing import list_below, list_folders


def test_s3_put_bytes_are_read_and_listed(s3):
    for name in (
        "b.parquet",
        "a.parquet",
        "_hidden.parquet",
        "sub/c.parquet",
        "note.txt",
    ):
        storage.put_bytes(f"{s3}/list/{name}", name.encode())
    assert storage.read_bytes(f"{s3}/list/sub/c.parquet") == b"sub/c.parquet"
    files = list_below(f"{s3}/list").files
    names = ("_hidden.parquet", "a.parquet", "b.parquet", "note.txt", "sub/c.parquet")
    assert [file.uri for file in files] == [f"{s3}/list/{n}" for n in names]
    assert [file.size for file in files] == [len(name) for name in names]
    assert [file.uri for file in list_below(f"{s3}/list/*.txt").files] == [
        f"{s3}/list/note.txt"
    ]
    assert list_folders(f"{s3}/list") == [f"{s3}/list/sub"]
    before = files[1].version
    storage.put_bytes(f"{s3}/list/a.parquet", b"other")
    assert list_below(f"{s3}/list/a.parquet").files[0].version != before
    assert storage.exists(f"{s3}/list/a.parquet")
    assert not storage.exists(f"{s3}/list/z.parquet")


def test_s3_folder_goes_there_and_back(s3, tmp_path, monkeypatch):
    for name in ("one", "two", "manifest.json"):
        (tmp_path / "from" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "from" / name).write_text(name)
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "to"))
    folders.put_folder(str(tmp_path / "from"), f"{s3}/folder", last="manifest.json")
    copy = Path(folders.fetch_folder(f"{s3}/folder", "bundles", "copy", ["one", "two"]))
    assert {path.name: path.read_text() for path in copy.iterdir()} == {
        "one": "one",
        "two": "two",
    }


def test_a_bundle_loads_from_s3_through_the_cache(
    s3, trained_bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path))
    folders.put_folder(trained_bundle, f"{s3}/bundles/one", last="manifest.json")
    bundle = load_bundle(f"{s3}/bundles/one")
    local = load_bundle(trained_bundle)
    assert bundle.fingerprint == local.fingerprint
    assert bundle.folder == str(tmp_path / "bundles" / local.fingerprint)
    assert (
        bundle.fitted.statistics.precision_HH == local.fitted.statistics.precision_HH
    ).all()

    with open(
        f"{bundle.folder}/model.safetensors", "ab"
    ) as file:  # the copy on this node goes bad
        file.write(b"x")
    again = load_bundle(f"{s3}/bundles/one")
    assert (again.folder, again.fingerprint) == (bundle.folder, bundle.fingerprint)
    assert (
        Path(again.folder, "model.safetensors").read_bytes()
        == Path(local.folder, "model.safetensors").read_bytes()
    )


def test_a_bundle_that_was_changed_on_s3_is_refused_by_every_node(
    s3, trained_bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path))
    folders.put_folder(trained_bundle, f"{s3}/bundles/two", last="manifest.json")
    fingerprint = load_bundle(trained_bundle).fingerprint
    storage.put_bytes(f"{s3}/bundles/two/temperature.json", b"{}")
    for known in (
        None,
        fingerprint,
    ):  # the driver, and a worker that knows what the driver has checked
        with pytest.raises(
            BundleError, match=r"two: temperature\.json differs from the manifest"
        ):
            load_bundle(f"{s3}/bundles/two", fingerprint=known)
    assert not (tmp_path / "bundles" / fingerprint).exists()


def test_a_swap_replaces_only_the_version_that_was_read(s3):
    uri = f"{s3}/swap/pointer.json"
    assert storage.read_versioned(uri) == (None, "")
    assert storage.swap_bytes(uri, b"1", "")
    assert not storage.swap_bytes(uri, b"2", "")
    data, version = storage.read_versioned(uri)
    assert data == b"1"
    assert storage.swap_bytes(uri, b"3", version)
    assert not storage.swap_bytes(uri, b"4", version)
    assert storage.read_bytes(uri) == b"3"


def test_two_publishers_on_s3_lose_neither(s3):
    from tests.unit.publishing.manifests import a_manifest
    from tests.unit.publishing.test_publish import _publish

    barrier = threading.Barrier(4)

    def publish(name: str) -> None:
        barrier.wait()
        _publish(a_manifest(f"{s3}/published", name))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, ["r1", "r2", "r3", "r4"]))
    pointer = read_pointer(f"{s3}/published")
    seen = [path.rpartition("=")[2] for path in pointer.paths]
    assert sorted(seen) == ["r1", "r2", "r3", "r4"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://no-such-bucket/x.parquet", "s3://no-such-bucket/x.parquet: "),
        ("s3://marketplace/no/such/key", "s3://marketplace/no/such/key: no such file"),
    ],
)
def test_s3_object_that_is_missing_is_named(s3, uri, message):
    with pytest.raises(InputError, match=message):
        storage.read_bytes(uri)
    with pytest.raises(InputError, match=message):
        list_below(uri)


def test_s3_wrong_key_is_one_line(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    storage.objects._s3.cache_clear()
    with pytest.raises(InputError, match=f"{s3}/ready: access is denied") as caught:
        storage.read_bytes(f"{s3}/ready")
    assert "wrong" not in str(caught.value)
    assert "\n" not in str(caught.value)

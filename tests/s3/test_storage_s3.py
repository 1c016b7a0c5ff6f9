"""storage.py against a real S3 server."""

import pytest

from rubert_ood import storage
from rubert_ood.bundle import load_bundle
from rubert_ood.errors import InputError


def test_put_read_list(s3):
    for name in ("b.parquet", "a.parquet", "_hidden.parquet", "sub/c.parquet", "note.txt"):
        storage.put_bytes(f"{s3}/list/{name}", name.encode())
    assert storage.read_bytes(f"{s3}/list/sub/c.parquet") == b"sub/c.parquet"
    files = storage.list_files(f"{s3}/list", (".parquet",))
    assert [file.uri for file in files] == [f"{s3}/list/{n}" for n in ("a.parquet", "b.parquet", "sub/c.parquet")]
    assert [file.size for file in files] == [9, 9, 13]
    assert [file.uri for file in storage.list_files(f"{s3}/list/*.txt")] == [f"{s3}/list/note.txt"]
    before = files[0].version
    storage.put_bytes(f"{s3}/list/a.parquet", b"other")
    assert storage.list_files(f"{s3}/list/a.parquet")[0].version != before
    assert storage.exists(f"{s3}/list/a.parquet")
    assert not storage.exists(f"{s3}/list/z.parquet")


def test_a_folder_goes_there_and_back(s3, tmp_path):
    for name in ("one", "two", "manifest.json"):
        (tmp_path / "from" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "from" / name).write_text(name)
    storage.put_folder(str(tmp_path / "from"), f"{s3}/folder", last="manifest.json")
    storage.fetch_folder(f"{s3}/folder", str(tmp_path / "to" / "copy"), ["one", "two"])
    assert {path.name: path.read_text() for path in (tmp_path / "to" / "copy").iterdir()} == {
        "one": "one",
        "two": "two",
    }


def test_a_bundle_loads_from_s3_through_the_cache(s3, trained_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CACHE_DIR", str(tmp_path))
    storage.put_folder(trained_bundle, f"{s3}/bundles/one", last="manifest.json")
    bundle = load_bundle(f"{s3}/bundles/one")
    local = load_bundle(trained_bundle)
    assert bundle.fingerprint == local.fingerprint
    assert bundle.folder == str(tmp_path / "bundles" / local.fingerprint)
    assert (bundle.fitted.statistics.precision_HH == local.fitted.statistics.precision_HH).all()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://no-such-bucket/x.parquet", "s3://no-such-bucket/x.parquet: "),
        ("s3://marketplace/no/such/key", "s3://marketplace/no/such/key: no such file"),
    ],
)
def test_what_is_missing_is_named(s3, uri, message):
    with pytest.raises(InputError, match=message):
        storage.read_bytes(uri)
    with pytest.raises(InputError, match=message):
        storage.list_files(uri)


def test_wrong_key_is_one_line(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    storage._s3.cache_clear()
    with pytest.raises(InputError, match=f"{s3}/ready: access denied") as caught:
        storage.read_bytes(f"{s3}/ready")
    assert "wrong" not in str(caught.value)
    assert "\n" not in str(caught.value)

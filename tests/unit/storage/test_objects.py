import errno
import os
import threading
from pathlib import Path

import pyarrow.fs
import pytest
from pydantic import BaseModel

from rubert_ood import storage
from rubert_ood.errors import OutputError, RubertOodError
from rubert_ood.storage.listing import list_below


def message(function, *arguments, **named) -> str:
    """Return the one line of the error that the call must raise."""
    with pytest.raises(RubertOodError) as caught:
        function(*arguments, **named)
    text = str(caught.value)
    assert "\n" not in text
    return text


def fill(folder: Path, *names: str) -> Path:
    """Write files whose content is their name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def no_space(*_arguments: object, **_named: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# addresses


def test_uri_of_a_local_path_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in (
        "data/a.csv",
        "./data/../data/a.csv",
        f"{tmp_path}/data/a.csv",
        f"file://{tmp_path}/data/a.csv",
    ):
        assert storage.filesystem(uri)[1] == f"{tmp_path}/data/a.csv"
        assert storage.absolute(uri) == f"{tmp_path}/data/a.csv"
    assert storage.absolute("s3://bucket/data") == "s3://bucket/data"


def test_absolute_takes_path_objects_and_a_slash_at_the_end(tmp_path: Path) -> None:
    assert storage.absolute(tmp_path / "a") == f"{tmp_path}/a"
    assert storage.absolute(f"{tmp_path}/a/") == f"{tmp_path}/a"
    assert storage.absolute("s3://bucket/data/") == "s3://bucket/data"


@pytest.mark.parametrize("uri", [None, 5, [], b"x"])
def test_absolute_of_what_is_not_text_names_its_type(uri: object) -> None:
    kind = type(uri).__name__
    line = (
        f"a URI must be text, and this is of type {kind}. Use a local path or"
        " s3://BUCKET/KEY"
    )
    assert message(storage.absolute, uri) == line


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("", "a URI is empty. Use a local path or s3://BUCKET/KEY"),
        ("s3://", "s3://: the bucket is missing. Use s3://BUCKET/KEY"),
        ("s3:///", "s3:///: the bucket is missing. Use s3://BUCKET/KEY"),
        ("s3:///ads", "s3:///ads: the bucket is missing. Use s3://BUCKET/KEY"),
        ("a\0b", r"a\x00b: a URI must not hold control characters"),
        ("s3://bucket/a\nb", r"s3://bucket/a\nb: a URI must not hold control characters"),
    ],
)
def test_uri_where_nothing_can_lie_is_refused_in_one_line(uri: str, line: str) -> None:
    assert message(storage.filesystem, uri) == line
    assert message(storage.absolute, uri) == line


@pytest.mark.parametrize(
    "uri", ["gs://bucket/ads", "http://host/ads.csv", "hdfs://host/ads"]
)
@pytest.mark.parametrize(
    "function",
    [
        storage.filesystem,
        storage.arrow_filesystem,
        list_below,
        storage.read_bytes,
        storage.exists,
    ],
)
def test_uri_of_other_storage_is_refused(uri: str, function) -> None:
    assert message(function, uri) == (
        f"{uri}: this kind of storage is not supported. Use a local path or"
        " s3://BUCKET/KEY"
    )


def test_put_bytes_to_other_storage_is_refused(tmp_path: Path) -> None:
    expected = (
        "gs://b/x: this kind of storage is not supported. Use a local path or"
        " s3://BUCKET/KEY"
    )
    assert message(storage.put_bytes, "gs://b/x", b"") == expected
    assert message(storage.swap_bytes, "gs://b/x", b"", "") == expected


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("s3://b/x", ("y", "z.json"), "s3://b/x/y/z.json"),
        ("s3://b/x/", ("y",), "s3://b/x/y"),
        ("out", ("a",), "out/a"),
    ],
)
def test_join_puts_one_slash_between_parts(
    uri: str, parts: tuple[str, ...], joined: str
) -> None:
    assert storage.join(uri, *parts) == joined


def test_is_s3_knows_s3_uris_only() -> None:
    assert [
        storage.is_s3(uri)
        for uri in ("s3://b/x", "s3a://b/x", "s3", "/s3://b", "S3x://b")
    ] == [True, True] + [False] * 3


def test_open_input_gives_pyarrow_the_same_file(tmp_path: Path) -> None:
    fill(tmp_path, "a.csv")
    fs, path = storage.arrow_filesystem(str(tmp_path / "a.csv"))
    assert isinstance(fs, pyarrow.fs.LocalFileSystem)
    assert fs.open_input_stream(path).read() == b"a.csv"


# one object


@pytest.mark.parametrize("data", [b"", b"\0\xff" * 100_000])
def test_put_bytes_come_back_from_read_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    storage.put_bytes("new/folder/a.bin", data)
    assert (tmp_path / "new/folder/a.bin").read_bytes() == data
    assert storage.read_bytes("new/folder/a.bin") == data
    storage.put_bytes("new/folder/a.bin", b"newer")
    assert storage.read_bytes(str(tmp_path / "new/folder/a.bin")) == b"newer"
    assert everything(tmp_path) == {"new", "new/folder", "new/folder/a.bin"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_put_bytes_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bytes | None
) -> None:
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, no_space)
        assert (
            message(storage.put_bytes, str(path), b"new")
            == f"{path}: [Errno 28] No space left on device"
        )
    assert everything(tmp_path) == ({"a.bin"} if before else set())
    assert not before or path.read_bytes() == before


def test_put_bytes_that_is_interrupted_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_descriptor: int) -> None:
        assert (
            tmp_path / "a.bin"
        ).read_bytes() == b"old"  # half-way, readers still see the old content
        raise KeyboardInterrupt

    storage.put_bytes(str(tmp_path / "a.bin"), b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.put_bytes(str(tmp_path / "a.bin"), b"new")
    assert everything(tmp_path) == {"a.bin"}
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_put_bytes_of_concurrent_writers_never_mix(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.bin")
    contents = [bytes([number]) * 200_000 for number in range(6)]
    threads = [
        threading.Thread(target=storage.put_bytes, args=(uri, content))
        for content in contents
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if storage.exists(uri):
            assert storage.read_bytes(uri) in contents
    assert everything(tmp_path) == {"a.bin"}
    assert storage.read_bytes(uri) in contents


def test_put_bytes_below_a_file_names_it(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    assert message(storage.put_bytes, f"{tmp_path}/a/b", b"").startswith(
        f"{tmp_path}/a/b: "
    )
    (tmp_path / "folder").mkdir()
    assert message(storage.put_bytes, f"{tmp_path}/folder", b"").startswith(
        f"{tmp_path}/folder: "
    )
    assert everything(tmp_path) == {"a", "folder"}


def test_read_bytes_of_what_is_missing_names_it(tmp_path: Path) -> None:
    assert (
        message(storage.read_bytes, f"{tmp_path}/a")
        == f"{tmp_path}/a: no such file, folder or bucket"
    )
    assert message(storage.read_bytes, str(tmp_path)).startswith(f"{tmp_path}: ")
    assert not storage.exists(f"{tmp_path}/a")
    assert storage.exists(str(tmp_path))


def test_put_bytes_that_cannot_be_written_is_an_error_of_the_output(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("x")
    for write in (
        lambda uri: storage.put_bytes(uri, b""),
        lambda uri: storage.swap_bytes(uri, b"", ""),
    ):
        with pytest.raises(OutputError):
            write(f"{tmp_path}/file/a")


def test_swap_bytes_replaces_only_the_version_that_was_read(tmp_path: Path) -> None:
    uri = f"{tmp_path}/new/pointer.json"
    assert storage.read_versioned(uri) == (None, "")
    assert storage.swap_bytes(uri, b"1", "")
    assert not storage.swap_bytes(uri, b"2", "")
    data, version = storage.read_versioned(uri)
    assert data == b"1"
    assert storage.swap_bytes(uri, b"3", version)
    assert not storage.swap_bytes(uri, b"4", version)
    assert storage.read_bytes(uri) == b"3"


@pytest.mark.parametrize("hard_links", [True, False])
def test_create_bytes_puts_an_object_only_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    def no_links(*_arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not hard_links:
        monkeypatch.setattr(os, "link", no_links)
    uri = f"{tmp_path}/new/plan.json"
    assert storage.create_bytes(uri, b"first")
    assert not storage.create_bytes(uri, b"second")
    assert storage.read_bytes(uri) == b"first"
    os.unlink(uri)
    assert storage.create_bytes(uri, b"third")
    assert storage.read_bytes(uri) == b"third"
    assert {path.name for path in (tmp_path / "new").iterdir()} <= {
        "plan.json",
        ".plan.json.lock",
    }


def test_create_bytes_whose_answer_got_lost_on_nfs_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def repeated(source: str, target: str) -> None:
        link(source, target)
        link(source, target)  # the server acted, the client asks again

    monkeypatch.setattr(os, "link", repeated)
    assert storage.create_bytes(f"{tmp_path}/plan.json", b"1")


def test_create_bytes_of_many_at_once_lets_one_win(tmp_path: Path) -> None:
    uri, won = f"{tmp_path}/plan.json", []
    contents = [bytes([number]) * 100_000 for number in range(8)]

    def create(content: bytes) -> None:
        if storage.create_bytes(uri, content):
            won.append(content)

    threads = [threading.Thread(target=create, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [storage.read_bytes(uri)]
    assert everything(tmp_path) == {"plan.json"}


def test_read_optional_of_what_is_not_there_is_none(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    assert storage.read_optional(f"{tmp_path}/b") is None
    assert storage.read_optional(f"{tmp_path}/a/b") is None  # below a file
    assert storage.read_optional(f"{tmp_path}/a") == b"a"
    assert message(storage.read_optional, str(tmp_path)).startswith(f"{tmp_path}: ")


def test_read_json_of_what_nests_too_deep_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert "the file is damaged (it does not hold JSON)" in message(
        storage.read_json, f"{tmp_path}/deep.json"
    )


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_read_json_of_what_is_not_an_object_is_one_line(tmp_path: Path, content) -> None:
    (tmp_path / "x.json").write_text(content)
    assert "the file is damaged (it does not hold a JSON object)" in message(
        storage.read_json, f"{tmp_path}/x.json"
    )


def test_swap_bytes_of_many_at_once_builds_each_on_the_one_before(tmp_path: Path) -> None:
    uri = f"{tmp_path}/counter"
    storage.put_bytes(uri, b"0")

    def count() -> None:
        for _ in range(10):
            while True:
                data, version = storage.read_versioned(uri)
                if storage.swap_bytes(uri, str(int(data or b"0") + 1).encode(), version):
                    break

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.read_bytes(uri) == b"40"


def test_put_bytes_gives_files_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        storage.put_bytes(f"{tmp_path}/out/a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "out" / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


# whose paths, whose locks


def test_a_tilde_is_the_home_wherever_a_path_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path, "ads/a.csv")
    assert storage.absolute("~/ads") == f"{tmp_path}/ads"
    assert storage.read_bytes("~/ads/a.csv") == b"ads/a.csv"
    assert [file.uri for file in list_below("~/ads").files] == [f"{tmp_path}/ads/a.csv"]
    assert storage.filesystem("/x/~/a")[1] == "/x/~/a"


def test_a_file_uri_is_an_absolute_path_of_this_machine() -> None:
    assert (
        storage.absolute("file:///data/a")
        == storage.absolute("file://localhost/data/a")
        == "/data/a"
    )
    assert message(storage.absolute, "file://host/data").startswith(
        "file://host/data: this kind of storage is not supported"
    )


@pytest.mark.parametrize(
    "uri",
    ["s3://KEY:SECRET@b/x", "s3://b/x?X-Amz-Signature=SECRET", "https://u:SECRET@h/x"],
)
def test_a_uri_with_credentials_is_refused_and_not_echoed(uri: str) -> None:
    for function in (storage.filesystem, storage.read_bytes, list_below, storage.exists):
        line = message(function, uri)
        assert "SECRET" not in line
        assert "credentials" in line


def test_put_json_writes_records_and_plain_content_as_utf8(tmp_path):
    class Named(BaseModel):
        name: str

    uri = str(tmp_path / "a.json")
    storage.put_json(uri, {"one": Named(name="Шины"), "many": [2**64 - 1, 0.1, None]})
    assert "Шины" in (tmp_path / "a.json").read_text("utf-8")
    assert storage.read_json(uri) == {
        "one": {"name": "Шины"},
        "many": [2**64 - 1, 0.1, None],
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.put_json(uri, {"x": float("nan")})

import errno
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pyarrow.fs
import pytest

from rubert_ood import storage
from rubert_ood.errors import OutputError, RubertOodError


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


def listed(uri: str | Path, *suffixes: str) -> list[str]:
    return [file.uri for file in storage.list_files(str(uri), suffixes)]


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def no_space(*_arguments: object, **_named: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# addresses


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in ("data/a.csv", "./data/../data/a.csv", f"{tmp_path}/data/a.csv", f"file://{tmp_path}/data/a.csv"):
        assert storage.filesystem(uri)[1] == f"{tmp_path}/data/a.csv"
        assert storage.absolute(uri) == f"{tmp_path}/data/a.csv"
    assert storage.absolute("s3://bucket/data") == "s3://bucket/data"


@pytest.mark.parametrize("uri", ["gs://bucket/ads", "http://host/ads.csv", "hdfs://host/ads"])
@pytest.mark.parametrize(
    "function", [storage.filesystem, storage.arrow_filesystem, storage.list_files, storage.read_bytes, storage.exists]
)
def test_other_storage_is_refused(uri: str, function) -> None:
    assert message(function, uri) == f"{uri}: storage is a local path or s3://BUCKET/KEY"


def test_other_storage_is_refused_for_writing(tmp_path: Path) -> None:
    expected = "gs://b/x: storage is a local path or s3://BUCKET/KEY"
    assert message(storage.put_bytes, "gs://b/x", b"") == expected
    assert message(storage.swap_bytes, "gs://b/x", b"", "") == expected


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [("s3://b/x", ("y", "z.json"), "s3://b/x/y/z.json"), ("s3://b/x/", ("y",), "s3://b/x/y"), ("out", ("a",), "out/a")],
)
def test_join(uri: str, parts: tuple[str, ...], joined: str) -> None:
    assert storage.join(uri, *parts) == joined


def test_only_s3_is_s3() -> None:
    assert [storage.is_s3(uri) for uri in ("s3://b/x", "s3a://b/x", "s3", "/s3://b", "S3x://b")] == [True, True] + [
        False
    ] * 3


def test_pyarrow_sees_the_same_file(tmp_path: Path) -> None:
    fill(tmp_path, "a.csv")
    fs, path = storage.arrow_filesystem(str(tmp_path / "a.csv"))
    assert isinstance(fs, pyarrow.fs.LocalFileSystem)
    assert fs.open_input_stream(path).read() == b"a.csv"


# one object


@pytest.mark.parametrize("data", [b"", b"\0\xff" * 100_000])
def test_bytes_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    storage.put_bytes("new/folder/a.bin", data)
    assert (tmp_path / "new/folder/a.bin").read_bytes() == data
    assert storage.read_bytes("new/folder/a.bin") == data
    storage.put_bytes("new/folder/a.bin", b"newer")
    assert storage.read_bytes(str(tmp_path / "new/folder/a.bin")) == b"newer"
    assert everything(tmp_path) == {"new", "new/folder", "new/folder/a.bin"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bytes | None
) -> None:
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, no_space)
        assert message(storage.put_bytes, str(path), b"new") == f"{path}: [Errno 28] No space left on device"
    assert everything(tmp_path) == ({"a.bin"} if before else set())
    assert not before or path.read_bytes() == before


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_descriptor: int) -> None:
        assert (tmp_path / "a.bin").read_bytes() == b"old"  # half-way, readers still see the old content
        raise KeyboardInterrupt

    storage.put_bytes(str(tmp_path / "a.bin"), b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.put_bytes(str(tmp_path / "a.bin"), b"new")
    assert everything(tmp_path) == {"a.bin"}
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_concurrent_writers_never_mix(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.bin")
    contents = [bytes([number]) * 200_000 for number in range(6)]
    threads = [threading.Thread(target=storage.put_bytes, args=(uri, content)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if storage.exists(uri):
            assert storage.read_bytes(uri) in contents
    assert everything(tmp_path) == {"a.bin"}
    assert storage.read_bytes(uri) in contents


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    assert message(storage.put_bytes, f"{tmp_path}/a/b", b"").startswith(f"{tmp_path}/a/b: ")
    (tmp_path / "folder").mkdir()
    assert message(storage.put_bytes, f"{tmp_path}/folder", b"").startswith(f"{tmp_path}/folder: ")
    assert everything(tmp_path) == {"a", "folder"}


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    assert message(storage.read_bytes, f"{tmp_path}/a") == f"{tmp_path}/a: no such file, folder or bucket"
    assert message(storage.read_bytes, str(tmp_path)).startswith(f"{tmp_path}: ")
    assert not storage.exists(f"{tmp_path}/a")
    assert storage.exists(str(tmp_path))


def test_what_cannot_be_written_is_an_error_of_the_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for write in (lambda uri: storage.put_bytes(uri, b""), lambda uri: storage.swap_bytes(uri, b"", "")):
        with pytest.raises(OutputError):
            write(f"{tmp_path}/file/a")


def test_a_swap_replaces_only_the_version_that_was_read(tmp_path: Path) -> None:
    uri = f"{tmp_path}/new/pointer.json"
    assert storage.read_versioned(uri) == (None, "")
    assert storage.swap_bytes(uri, b"1", "")
    assert not storage.swap_bytes(uri, b"2", "")
    data, version = storage.read_versioned(uri)
    assert data == b"1"
    assert storage.swap_bytes(uri, b"3", version)
    assert not storage.swap_bytes(uri, b"4", version)
    assert storage.read_bytes(uri) == b"3"


def test_of_many_swaps_at_once_each_builds_on_the_one_before(tmp_path: Path) -> None:
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


def test_files_get_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        storage.put_bytes(f"{tmp_path}/out/a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "out" / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


# listing


def test_a_folder_is_listed_in_order_without_private_names(tmp_path: Path) -> None:
    fill(
        tmp_path,
        *(
            "b.csv",
            "a.parquet",
            "sub/deep/c.CSV",
            "notes.txt",
            "_SUCCESS",
            ".hidden.csv",
            "_run/d.csv",
            "sub/.git/e.csv",
        ),
        *("sub/_f.csv", "x_/y_.csv", "x.d/z.csv"),
    )
    names = ["a.parquet", "b.csv", "notes.txt", "sub/deep/c.CSV", "x.d/z.csv", "x_/y_.csv"]
    assert listed(tmp_path) == [f"{tmp_path}/{name}" for name in names]
    names.remove("notes.txt")
    assert listed(tmp_path, ".csv", ".parquet") == [f"{tmp_path}/{name}" for name in names]
    assert listed(f"{tmp_path}/") == listed(tmp_path)


def test_private_names_above_the_listed_folder_do_not_matter(tmp_path: Path) -> None:
    fill(tmp_path, ".cache/_x/a.csv", ".cache/_x/_b.csv")
    for uri in (f"{tmp_path}/.cache/_x", f"{tmp_path}/.cache/_x/*", f"{tmp_path}/.cache/_x/?.csv"):
        assert listed(uri) == [f"{tmp_path}/.cache/_x/a.csv"], uri


def test_a_single_file_is_itself_whatever_its_name(tmp_path: Path) -> None:
    fill(tmp_path, "_notes.txt")
    (file,) = storage.list_files(f"{tmp_path}/_notes.txt", (".csv",))
    assert (file.uri, file.size) == (f"{tmp_path}/_notes.txt", len("_notes.txt"))


def test_a_relative_folder_gives_absolute_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "data/a.csv")
    monkeypatch.chdir(tmp_path)
    for uri in ("data", "./data/", "data/a.csv", "data/*.csv", "*/a.csv", f"file://{tmp_path}/data"):
        assert listed(uri) == [f"{tmp_path}/data/a.csv"], uri


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["part-0.csv", "part-1.csv"]),
        ("part-?.csv", ["part-0.csv", "part-1.csv"]),
        ("part-[01].*", ["part-0.csv", "part-1.csv"]),
        ("part-[!0].csv", ["part-1.csv"]),
        ("day=*/a.csv", ["day=1/a.csv", "day=2/a.csv"]),
        ("day=[123]/*.csv", ["day=1/a.csv", "day=2/a.csv"]),
        ("day=?/a.csv", ["day=1/a.csv", "day=2/a.csv"]),
        ("**/a.csv", ["_run/a.csv", "day=1/a.csv", "day=2/a.csv"][1:]),
        ("nothing*", []),
    ],
)
def test_globs(tmp_path: Path, pattern: str, names: list[str]) -> None:
    fill(tmp_path, "part-0.csv", "part-1.csv", "_part.csv", "day=1/a.csv", "day=2/a.csv", "day=1/_b.csv", "_run/a.csv")
    assert listed(tmp_path / pattern) == [f"{tmp_path}/{name}" for name in names]
    assert listed(tmp_path / pattern, ".parquet") == []


def test_an_empty_folder_has_no_files_and_an_absent_one_is_an_error(tmp_path: Path) -> None:
    assert listed(tmp_path) == []
    assert message(storage.list_files, f"{tmp_path}/x") == f"{tmp_path}/x: no such file, folder or bucket"


def test_the_version_changes_with_the_content(tmp_path: Path) -> None:
    path = fill(tmp_path, "a.csv") / "a.csv"
    (first,) = storage.list_files(str(path))
    assert storage.list_files(str(tmp_path)) == [first]
    assert first.version == str(path.stat().st_mtime_ns)
    path.write_text("b.csv")
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    (second,) = storage.list_files(str(path))
    assert first.version != second.version


def test_folders_right_under_a_folder(tmp_path) -> None:
    fill(tmp_path, "run_id=b/part.parquet", "run_id=a/_run/manifest.json", "latest.json", ".latest.json.lock")
    assert storage.list_folders(str(tmp_path)) == [f"{tmp_path}/run_id=a", f"{tmp_path}/run_id=b"]
    assert "gone" in message(storage.list_folders, str(tmp_path / "gone"))


# whose paths, whose locks


def test_a_tilde_is_the_home_wherever_a_path_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path, "ads/a.csv")
    assert storage.absolute("~/ads") == f"{tmp_path}/ads"
    assert storage.read_bytes("~/ads/a.csv") == b"ads/a.csv"
    assert listed("~/ads") == [f"{tmp_path}/ads/a.csv"]
    assert storage.filesystem("/x/~/a")[1] == "/x/~/a"


def test_a_file_uri_is_an_absolute_path_of_this_machine() -> None:
    assert storage.absolute("file:///data/a") == storage.absolute("file://localhost/data/a") == "/data/a"
    assert message(storage.absolute, "file://host/data").startswith("file://host/data: storage is a local path or ")


@pytest.mark.parametrize("uri", ["s3://KEY:SECRET@b/x", "s3://b/x?X-Amz-Signature=SECRET", "https://u:SECRET@h/x"])
def test_a_uri_with_credentials_is_refused_and_not_echoed(uri: str) -> None:
    for function in (storage.filesystem, storage.read_bytes, storage.list_files, storage.exists):
        line = message(function, uri)
        assert "SECRET" not in line
        assert "credentials" in line


def test_a_lock_that_another_holds_is_not_waited_for(tmp_path: Path) -> None:
    with storage.locked(f"{tmp_path}/a") as first, storage.locked(f"{tmp_path}/a", wait=False) as second:
        assert (first, second) == (True, False)
    with storage.locked(f"{tmp_path}/a", wait=False) as third:
        assert third
    assert everything(tmp_path) == {".a.lock"}


def test_a_lock_file_that_is_a_link_is_refused_and_nothing_is_written_behind_it(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".a.lock").symlink_to(tmp_path / "precious")
    (tmp_path / ".b.lock").symlink_to(tmp_path / "absent")
    for name in ("a", "b"):
        line = message(storage.swap_bytes, f"{tmp_path}/{name}", b"", "")
        assert line == f"{tmp_path}/.{name}.lock: something that is not a lock file lies there; remove it"
    assert (tmp_path / "precious").read_text() == "x"
    assert not (tmp_path / "absent").exists()


def test_a_lock_file_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".a.lock")
    assert "is not a lock file" in message(storage.swap_bytes, f"{tmp_path}/a", b"", "")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["shared", "shared and sticky"])
def test_two_users_share_a_folder_and_its_lock(mode: int) -> None:
    code = "import os, sys; from rubert_ood import storage; os.setgid({0}); os.setuid({0})\n"
    code += "with storage.locked(sys.argv[1]) as held: print(held)"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, mode)
        for user in (1001, 1002, 0, 1001):
            command = [sys.executable, "-c", code.format(user), f"{folder}/latest.json"]
            result = subprocess.run(command, capture_output=True, text=True)
            assert (result.stdout, result.stderr) == ("True\n", "")


@pytest.mark.parametrize("refused", [os.O_CREAT, os.O_RDWR], ids=["fs.protected_regular", "not ours to write"])
def test_a_lock_file_of_another_user_is_opened_without_what_the_kernel_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    fill(tmp_path, ".a.lock")
    real, tried = os.open, []

    def refuse(path: str, flags: int, *mode: int) -> int:
        tried.append(flags)
        if flags & refused:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    with storage.locked(f"{tmp_path}/a") as held:
        assert held
    assert all(flags & os.O_NOFOLLOW for flags in tried)
    assert len(tried) == (2 if refused == os.O_CREAT else 3)


def test_a_lock_that_cannot_be_taken_is_denied_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    assert "access denied" in message(storage.swap_bytes, f"{tmp_path}/a", b"", "")

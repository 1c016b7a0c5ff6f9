import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.errors import BundleError, SettingsError
from rubert_ood.storage import folders, leftovers
from tests.unit.storage.test_objects import everything, fill, message, no_space


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return fill(tmp_path / "work" / "bundle", "manifest.json", "model.bin", "vocab.txt")


def test_put_folder_and_fetch_folder_keep_every_file(
    tmp_path: Path, bundle: Path
) -> None:
    target = tmp_path / "out" / "deep" / "v1"
    folders.put_folder(str(bundle), str(target), last="manifest.json")
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        name: name for name in ("manifest.json", "model.bin", "vocab.txt")
    }
    assert target.stat().st_mode & 0o777 == 0o755
    assert everything(target.parent) == {
        "v1",
        "v1/manifest.json",
        "v1/model.bin",
        "v1/vocab.txt",
    }

    cache = Path(
        folders.fetch_folder(str(target), "bundles", "v1", ["manifest.json", "vocab.txt"])
    )
    assert cache == tmp_path / "cache" / "bundles" / "v1"
    assert {path.name: path.read_text() for path in cache.iterdir()} == {
        name: name for name in ("manifest.json", "vocab.txt")
    }
    assert set(os.listdir(cache.parent)) == {"v1", ".v1.lock"}


@pytest.mark.parametrize("fail_at", ["model.bin", "manifest.json"])
def test_a_folder_that_cannot_be_copied_does_not_appear(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, fail_at: str
) -> None:
    copy = folders.shutil.copyfile

    def copyfile(source: str, target: str) -> None:
        assert not (tmp_path / "out" / "v1").exists()
        if source.endswith(fail_at):
            no_space()
        copy(source, target)

    monkeypatch.setattr(folders.shutil, "copyfile", copyfile)
    target = tmp_path / "out" / "v1"
    line = message(folders.put_folder, str(bundle), str(target), last="manifest.json")
    assert line == f"{target}: [Errno 28] No space left on device"
    assert os.listdir(target.parent) == []


def test_put_folder_copies_the_last_file_last(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []
    copy = folders.shutil.copyfile
    monkeypatch.setattr(
        folders.shutil,
        "copyfile",
        lambda source, target: copied.append(Path(source).name) or copy(source, target),
    )
    folders.put_folder(str(bundle), str(tmp_path / "v1"), last="manifest.json")
    assert copied == ["model.bin", "vocab.txt", "manifest.json"]


def test_a_folder_without_its_last_file_is_not_put(tmp_path: Path, bundle: Path) -> None:
    (bundle / "manifest.json").unlink()
    assert message(
        folders.put_folder,
        str(bundle),
        str(tmp_path / "out" / "v1"),
        last="manifest.json",
    )
    assert os.listdir(tmp_path / "out") == []


def test_put_folder_does_not_overwrite_an_existing_one(
    tmp_path: Path, bundle: Path
) -> None:
    fill(tmp_path / "out" / "v1", "old.txt")
    line = message(
        folders.put_folder,
        str(bundle),
        str(tmp_path / "out" / "v1"),
        last="manifest.json",
    )
    assert line.startswith(f"{tmp_path}/out/v1: ")
    assert everything(tmp_path / "out") == {"v1", "v1/old.txt"}


def test_a_folder_with_a_missing_file_is_not_fetched(
    tmp_path: Path, bundle: Path
) -> None:
    line = message(
        folders.fetch_folder,
        str(bundle),
        "bundles",
        "v1",
        ["manifest.json", "absent.bin"],
    )
    assert line == f"{bundle}/absent.bin: no such file, folder or bucket"
    assert os.listdir(tmp_path / "cache" / "bundles") == [".v1.lock"]


def test_a_fetched_folder_is_not_fetched_again(tmp_path: Path, bundle: Path) -> None:
    folders.fetch_folder(str(bundle), "bundles", "v1", ["model.bin"])
    (bundle / "model.bin").unlink()
    cache = folders.fetch_folder(str(bundle), "bundles", "v1", ["model.bin"])
    assert (Path(cache) / "model.bin").read_text() == "model.bin"


def test_a_second_process_that_fetches_at_the_same_time_wins_or_loses_whole(
    tmp_path: Path, bundle: Path
) -> None:
    names = ["manifest.json", "model.bin", "vocab.txt"]
    barrier = threading.Barrier(4)
    failures = []

    def fetch() -> None:
        barrier.wait()
        try:
            folders.fetch_folder(str(bundle), "bundles", "v1", names)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert everything(tmp_path / "cache" / "bundles") == {"v1", ".v1.lock"} | {
        f"v1/{name}" for name in names
    }


def test_a_copy_that_the_check_refuses_does_not_appear(
    tmp_path: Path, bundle: Path
) -> None:
    seen = []

    def refuse(folder: str) -> None:
        seen.append(sorted(os.listdir(folder)))
        raise BundleError("model.bin differs")

    assert (
        message(folders.fetch_folder, str(bundle), "bundles", "v1", ["model.bin"], refuse)
        == "model.bin differs"
    )
    assert seen == [["model.bin"]]
    assert os.listdir(tmp_path / "cache" / "bundles") == [".v1.lock"]


def test_one_fetch_serves_all_processes_of_a_node(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = []
    download = folders._download
    monkeypatch.setattr(
        folders, "_download", lambda uri, path: (copies.append(uri), download(uri, path))
    )
    threads = [
        threading.Thread(
            target=folders.fetch_folder,
            args=(str(bundle), "bundles", "v1", ["model.bin"]),
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert copies == [f"{bundle}/model.bin"]


def test_the_cache_is_for_this_user_alone(cache: Path) -> None:
    folders.private_cache()
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o777)
    folders.private_cache()
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_somebody_else_put_there_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="this folder belongs to another user"):
        folders.private_cache()
    cache.unlink()
    cache.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: cache.stat().st_uid + 1)
    with pytest.raises(SettingsError, match="this folder belongs to another user"):
        folders.private_cache()


def test_a_copy_that_a_killed_fetch_left_is_removed_by_the_next_one(
    tmp_path: Path, bundle: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fetch holds the lock of its key: a copy whose lock is free belongs to nobody."""
    caplog.set_level(logging.INFO)
    fill(
        cache / "bundles",
        ".fetch-v1-dead/model.bin",
        ".fetch-v0-dead/model.bin",
        ".fetch-v2-live/model.bin",
    )
    fill(
        cache / "bundles",
        ".fetch-recent/model.bin",
        ".fetch-oldname/model.bin",
        "v9/model.bin",
    )
    os.utime(cache / "bundles" / ".fetch-oldname", (0, 0))
    cache.chmod(0o700)
    with storage.locked(str(cache / "bundles" / "v2")):
        folders.fetch_folder(str(bundle), "bundles", "v1", ["model.bin"])
    assert {
        name for name in os.listdir(cache / "bundles") if not name.endswith(".lock")
    } == {
        *("v1", "v9", ".fetch-v2-live", ".fetch-recent"),
    }
    assert "removed 3 unfinished copies of ended processes" in caplog.text


def test_a_folder_that_a_killed_copy_left_is_removed_by_the_next_one(
    tmp_path: Path, bundle: Path
) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    name = leftovers.staged_folder_name().replace(f"-{os.getpid()}-", f"-{process.pid}-")
    fill(tmp_path / "out", f"{name}/model.bin")
    folders.put_folder(str(bundle), str(tmp_path / "out" / "v1"), last="manifest.json")
    assert os.listdir(tmp_path / "out") == ["v1"]


def test_what_killed_writers_left_in_an_output_and_a_run_is_removed(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    name = leftovers.staged_name().replace(f"-{os.getpid()}-", f"-{process.pid}-")
    fill(
        tmp_path,
        name,
        f"run_date=1/run_id=a/_run/receipts/{name}",
        f"run_date=1/run_id=b/{name}",
        "latest.json",
    )
    folders.remove_leftovers(str(tmp_path), str(tmp_path / "run_date=1" / "run_id=a"))
    assert {
        path for path in everything(tmp_path) if path.endswith((".tmp", ".json"))
    } == {
        *(
            "latest.json",
            f"run_date=1/run_id=b/{name}",
        ),  # of another run, which may live elsewhere
    }
    folders.remove_leftovers("s3://bucket/out", "s3://bucket/out/run")


def test_a_cache_that_cannot_be_made_is_one_line(cache: Path) -> None:
    cache.write_text("a file")
    assert message(folders.private_cache) == f"{cache}: [Errno 17] File exists: '{cache}'"

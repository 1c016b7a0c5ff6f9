import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rubert_ood import ray_folder
from rubert_ood.errors import SettingsError
from rubert_ood.ray_folder import MAX_SOCKET_BYTES, SOCKET_BYTES, session_folder
from rubert_ood.storage import folders

HOLD = (
    "import sys, time; from rubert_ood import ray_folder as r; r.CACHE_DIR = sys.argv[1];"
    " r.SOCKET_BYTES = 0; print(r.session_folder(), flush=True); time.sleep(60)"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in a folder whose path, for once, is not too long."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(ray_folder, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(ray_folder, "SOCKET_BYTES", 0)
    monkeypatch.setattr(ray_folder, "MAX_SOCKET_BYTES", 4096)
    return tmp_path / "cache"


def test_ray_session_folder_is_private_and_new_each_time(cache: Path) -> None:
    first, second = Path(session_folder()), Path(session_folder())
    assert first != second
    assert first.parent == second.parent == cache
    assert [path.stat().st_mode & 0o777 for path in (cache, first)] == [0o700, 0o700]
    assert first.is_dir()


def test_ray_folders_of_a_killed_process_are_removed_and_those_of_a_living_one_are_not(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLD.replace("r.SOCKET_BYTES = 0", "r.MAX_SOCKET_BYTES = 4096"),
            str(cache),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    theirs = Path(process.stdout.readline().strip())
    (theirs / "session" / "logs").mkdir(parents=True)
    session_folder()
    assert theirs.is_dir()
    process.kill()
    process.wait()
    ours = Path(session_folder())
    assert not theirs.exists()
    assert not (cache / f".{theirs.name}.lock").exists()
    assert ours.is_dir()
    assert caplog.messages == [
        f"ray       removed 1 session folder of ended jobs from {cache}"
    ]


def test_ray_folder_too_long_for_sockets_gives_way_to_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(ray_folder, "CACHE_DIR", str(tmp_path / ("x" * 70) / "cache"))
    monkeypatch.setattr(ray_folder, "SHORT_PARENT", str(tmp_path))
    monkeypatch.setattr(ray_folder, "private_cache", folders.private_cache)
    folder = session_folder()
    assert folder.startswith(f"{tmp_path}/cache/ray-")
    assert "the path of TMPDIR is too long for sockets" in caplog.text


def test_ray_folder_of_this_machine_is_short_enough() -> None:
    session = ray_folder.PREFIX + "0" * ray_folder.ID_CHARACTERS
    longest = f"{ray_folder.SHORT_PARENT}/rubert_ood-{2**32 - 2}/{session}"
    assert len(longest) + SOCKET_BYTES <= MAX_SOCKET_BYTES


def test_a_ray_tmpdir_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", f"{tmp_path}/{'x' * 70}")
    with pytest.raises(
        SettingsError,
        match=(
            r"^RAY_TMPDIR: .* is longer than \d+ bytes, too long for the sockets of"
            r" Ray\. Use a shorter path$"
        ),
    ):
        session_folder()
    assert os.listdir(tmp_path) == []

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rubert_ood.storage import leftovers
from rubert_ood.storage.leftovers import remove_leftovers, staged_folder_name, staged_name
from tests.unit.storage.test_objects import everything, fill

HEX = "0" * 32


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def name_of(pid: int, name: str) -> str:
    return name.replace(f"-{os.getpid()}-", f"-{pid}-")


def grow_old(path: Path) -> None:
    long_ago = time.time() - leftovers.OLD_S - 60
    os.utime(path, (long_ago, long_ago))


def test_leftovers_of_a_dead_process_are_removed_and_those_of_a_living_one_are_not(
    tmp_path: Path, dead: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    alive = [staged_name(), staged_folder_name()]
    gone = [
        name_of(dead, staged_name()),
        f"{name_of(dead, staged_folder_name())}/model.bin",
    ]
    fill(
        tmp_path,
        *alive,
        *gone,
        "part-0.parquet",
        f".{HEX}.parquet",
        ".x.tmp",
        "day/.hidden/a",
    )
    assert remove_leftovers(str(tmp_path)) == 2
    assert everything(tmp_path) == {
        *(
            *alive,
            "part-0.parquet",
            f".{HEX}.parquet",
            ".x.tmp",
            "day",
            "day/.hidden",
            "day/.hidden/a",
        ),
    }
    assert caplog.messages == [
        (f"storage   removed 2 unfinished files of ended processes from {tmp_path}"),
    ]


def test_leftovers_of_another_machine_are_removed_only_when_they_are_old(
    tmp_path: Path, dead: int
) -> None:
    far = [f".0123456789ab-{dead}-{HEX}.tmp", f".0123456789ab-{dead}-{HEX[:-1]}1.tmp"]
    fill(tmp_path, *far)
    assert remove_leftovers(str(tmp_path)) == 0
    grow_old(tmp_path / far[0])
    assert remove_leftovers(str(tmp_path)) == 1
    assert everything(tmp_path) == {far[1]}


def test_leftovers_named_by_older_versions_are_removed_when_they_are_old(
    tmp_path: Path,
) -> None:
    names = [f".staged-{HEX}", f".{HEX}.tmp"]
    fill(tmp_path, f"{names[0]}/a", names[1])
    assert remove_leftovers(str(tmp_path)) == 0
    for name in names:
        grow_old(tmp_path / name)
    assert remove_leftovers(str(tmp_path)) == 2


def test_leftovers_in_folders_below_are_searched_only_when_asked(
    tmp_path: Path, dead: int
) -> None:
    fill(tmp_path, f"_run/receipts/{name_of(dead, staged_name())}")
    assert remove_leftovers(str(tmp_path)) == 0
    assert remove_leftovers(str(tmp_path), deep=True) == 1


def test_leftovers_that_are_links_are_removed_and_not_followed(
    tmp_path: Path, dead: int
) -> None:
    fill(tmp_path / "elsewhere", "precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name_of(dead, staged_folder_name())).symlink_to(
        tmp_path / "elsewhere"
    )
    assert remove_leftovers(str(tmp_path / "out")) == 1
    assert everything(tmp_path / "elsewhere") == {"precious"}


def test_leftovers_of_another_user_stay(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, name_of(dead, staged_name()))
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert remove_leftovers(str(tmp_path)) == 0


def test_leftovers_of_a_missing_folder_are_none(tmp_path: Path) -> None:
    assert remove_leftovers(str(tmp_path / "absent"), deep=True) == 0

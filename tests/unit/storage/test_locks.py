import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rubert_ood import storage
from tests.unit.storage.test_objects import everything, fill, message


def test_locked_by_another_is_not_waited_for(tmp_path: Path) -> None:
    with (
        storage.locked(f"{tmp_path}/a") as first,
        storage.locked(f"{tmp_path}/a", wait=False) as second,
    ):
        assert (first, second) == (True, False)
    with storage.locked(f"{tmp_path}/a", wait=False) as third:
        assert third
    assert everything(tmp_path) == {".a.lock"}


def test_locked_behind_a_link_is_refused_and_nothing_is_written_behind_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".a.lock").symlink_to(tmp_path / "precious")
    (tmp_path / ".b.lock").symlink_to(tmp_path / "absent")
    for name in ("a", "b"):
        line = message(storage.swap_bytes, f"{tmp_path}/{name}", b"", "version")
        assert line == f"{tmp_path}/.{name}.lock: this is not a lock file. Remove it"
    assert (tmp_path / "precious").read_text() == "x"
    assert not (tmp_path / "absent").exists()


def test_locked_behind_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".a.lock")
    assert "is not a lock file" in message(
        storage.swap_bytes, f"{tmp_path}/a", b"", "version"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["shared", "shared and sticky"])
def test_locked_by_two_users_in_one_folder_is_shared(mode: int) -> None:
    code = (
        "import os, sys; from rubert_ood import storage; os.setgid({0}); os.setuid({0})\n"
    )
    code += "with storage.locked(sys.argv[1]) as held: print(held)"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, mode)
        for user in (1001, 1002, 0, 1001):
            command = [sys.executable, "-c", code.format(user), f"{folder}/latest.json"]
            result = subprocess.run(command, capture_output=True, text=True)
            assert (result.stdout, result.stderr) == ("True\n", "")


@pytest.mark.parametrize(
    "refused", [os.O_CREAT, os.O_RDWR], ids=["fs.protected_regular", "not ours to write"]
)
def test_locked_file_of_another_user_is_opened_without_what_the_kernel_refuses(
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


def test_locked_file_that_cannot_be_opened_is_denied_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    assert "access is denied" in message(
        storage.swap_bytes, f"{tmp_path}/a", b"", "version"
    )

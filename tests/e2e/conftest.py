"""The demo, run once as a user runs it; everything end to end looks at what it left."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rubert_ood.storage import locked
from tests.e2e.wheel import CHECKOUT, Installed, build_and_install

DEMO_TIMEOUT_S = 1200
THREADS = "OMP_NUM_THREADS"
"""What tests/conftest.py sets to 1 where several processes run tests."""


@dataclass(frozen=True)
class Demo:
    folder: Path
    output: str
    """Standard output."""
    log: str
    """Standard error: the log lines."""

    @property
    def bundle(self) -> Path:
        return max((self.folder / "bundles").iterdir())

    @property
    def run(self) -> Path:
        return next(self.folder.glob("scored/run_date=*/run_id=*"))


def run(
    command: list[object],
    *,
    timeout: int,
    without: tuple[str, ...] = (),
    **options: object,
) -> subprocess.CompletedProcess[str]:
    """Run a command with as many threads as a user's has, and without these variables."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in (THREADS, *without)
    }
    return subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=env,
        **options,
    )  # type: ignore[call-overload]


def rubert_ood(
    *arguments: object, timeout: int = 600, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run the command of this environment."""
    command = Path(sys.executable).with_name("rubert-ood")
    return run([command, *arguments], timeout=timeout, **options)


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all processes of these tests share."""
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def made_once(folder: Path, make: Callable[[], subprocess.CompletedProcess[str]]) -> Demo:
    """Run a demo in the first process of tests that needs it; another one waits, and looks at
    it."""
    said = folder.with_suffix(".json")
    with locked(str(said)):
        if not said.exists():
            result = make()
            assert result.returncode == 0, result.stderr
            said.write_text(json.dumps([result.stdout, result.stderr]))
    return Demo(folder, *json.loads(said.read_text()))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo as it is, on a Ray of its own."""
    folder = shared_folder(tmp_path_factory) / "demo"
    command = ("demo", "--output_uri", folder, "--ray_address", "local")
    return made_once(folder, lambda: rubert_ood(*command, timeout=DEMO_TIMEOUT_S))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build sdist and wheel, as `python -m build` does; install the wheel into an environment of
    its own."""
    folder = shared_folder(tmp_path_factory) / "installed"
    with locked(str(folder)):
        if not folder.exists():
            build_and_install(folder)
    return Installed(folder)


@pytest.fixture(scope="session")
def notebook_demo(tmp_path_factory: pytest.TempPathFactory, installed: Installed) -> Demo:
    """A smaller one, trained as the notebook trains, by the wheel where there is no checkout."""
    place = shared_folder(tmp_path_factory) / "without_checkout"
    place.mkdir(exist_ok=True)
    command = [installed.bin / "rubert-ood", "demo", "--ray_address", "local"]
    command += ["--num_train", 4_000, "--num_score", 1_000, "--recipe", "notebook"]
    return made_once(
        place / "demo",
        lambda: run(command, timeout=DEMO_TIMEOUT_S, without=CHECKOUT, cwd=place),
    )

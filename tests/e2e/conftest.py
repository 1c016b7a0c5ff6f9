"""The demo, run once as a user runs it; everything end to end looks at what it left."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rubert_ood.storage import locked

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


def rubert_ood(
    *arguments: object, timeout: int = 600, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run the installed command, with as many threads as a user's has."""
    command = [str(Path(sys.executable).with_name("rubert-ood")), *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if name != THREADS}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=env, **options
    )  # type: ignore[call-overload]


def run_demo(folder: Path, *arguments: object) -> Demo:
    """Run the demo, on a Ray of its own."""
    command = ("demo", "--output_uri", folder, "--ray_address", "local", *arguments)
    result = rubert_ood(*command, timeout=DEMO_TIMEOUT_S)
    assert result.returncode == 0, result.stderr
    return Demo(folder, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run it in the first process of tests that needs it; another one waits, and looks at it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    said = folder / "demo.json"
    with locked(str(said)):
        if not said.exists():
            made = run_demo(folder / "demo")
            said.write_text(json.dumps([made.output, made.log]))
    return Demo(folder / "demo", *json.loads(said.read_text()))


@pytest.fixture(scope="session")
def notebook_demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A smaller one, trained as the notebook trains."""
    size = ("--num_train", 4_000, "--num_score", 1_000)
    folder = tmp_path_factory.mktemp("notebook_demo")
    return run_demo(folder, *size, "--recipe", "notebook")

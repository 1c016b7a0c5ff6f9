"""The demo, run once as a user runs it; everything end to end looks at what it left."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

DEMO_TIMEOUT_S = 1200


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
    """Run the installed command."""
    command = [str(Path(sys.executable).with_name("rubert-ood")), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, **options
    )  # type: ignore[call-overload]


def run_demo(folder: Path, *arguments: object) -> Demo:
    """Run the demo, on a Ray of its own."""
    command = ("demo", "--output_uri", folder, "--ray_address", "local", *arguments)
    result = rubert_ood(*command, timeout=DEMO_TIMEOUT_S)
    assert result.returncode == 0, result.stderr
    return Demo(folder, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return run_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def notebook_demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A smaller one, trained as the notebook trains."""
    size = ("--num_train", 4_000, "--num_score", 1_000)
    folder = tmp_path_factory.mktemp("notebook_demo")
    return run_demo(folder, *size, "--recipe", "notebook")

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


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    result = rubert_ood(
        "demo", "--output_uri", folder, "--ray_address", "local", timeout=DEMO_TIMEOUT_S
    )
    assert result.returncode == 0, result.stderr
    return Demo(folder, result.stdout, result.stderr)

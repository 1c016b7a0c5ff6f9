"""The wheel that `python -m build` makes, in an environment of its own.

An environment with torch and Ray of its own would take minutes and gigabytes for each run of the
tests. So the environment is empty but for the wheel, and a .pth file lets it see the packages that
the tests run with; this project is not among those, since its editable install is itself a .pth
file, and those are only read in an environment's own folder.
"""

import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECKOUT = ("PYTHONPATH",)
"""What leads Python to the checkout, beside the current folder."""


@dataclass(frozen=True)
class Installed:
    folder: Path

    @property
    def sdist(self) -> Path:
        return next(self.folder.glob("dist/*.tar.gz"))

    @property
    def wheel(self) -> Path:
        return next(self.folder.glob("dist/*.whl"))

    @property
    def bin(self) -> Path:
        return self.folder / "environment" / "bin"


def build_and_install(folder: Path) -> None:
    """Build the sdist, the wheel from the sdist, and an environment with the wheel."""
    command = [sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    environment = folder / "environment"
    venv.create(environment, symlinks=True, with_pip=False)
    python = environment / "bin" / "python"
    place = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        text=True,
    )
    packages = sysconfig.get_path("purelib")
    (Path(place.strip()) / "packages.pth").write_text(f"{packages}\n")
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", python]
    options = ["--no-deps", "--ignore-installed", "--disable-pip-version-check"]
    wheel = Installed(folder).wheel
    subprocess.run([*pip, "install", *options, wheel], check=True)

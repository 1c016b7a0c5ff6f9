"""`python -m build` makes a wheel that works where there is no checkout.

An environment with torch and Ray of its own would take minutes and gigabytes for each run of the
tests. So the environment is empty but for the wheel, and a .pth file lets it see the packages that
the tests run with; this project is not among those, since its editable install is itself a .pth
file, and those are only read in an environment's own folder.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from rubert_ood import __version__

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rubert_ood"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build sdist and wheel, the wheel from the sdist, as `python -m build` does."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an empty environment; return its folder of commands."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    place = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        text=True,
    )
    packages = sysconfig.get_path("purelib")
    (Path(place.strip()) / "packages.pth").write_text(f"{packages}\n")
    (path,) = built.glob("*.whl")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--python",
        python,
        "install",
        "--no-deps",
    ]
    subprocess.run(
        [*pip, "--ignore-installed", "--disable-pip-version-check", path], check=True
    )
    return folder / "bin"


def bare(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment that leads to no checkout."""
    return {name: value for name, value in environment.items() if name != "PYTHONPATH"}


def test_wheel_has_every_file_of_the_package_and_nothing_else(wheel):
    names = {
        name for name in wheel.namelist() if not re.match(r"[^/]+\.dist-info/", name)
    }
    kinds = (".py", ".yaml", ".j2", ".css", ".js", ".typed")
    wanted = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.suffix in kinds
    }
    assert wanted <= names
    assert {Path(name).suffix for name in names - wanted} <= {".svg", ".html", ".json"}
    assert "rubert_ood/py.typed" in wanted


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(wheel.read(name))


def test_wheel_says_what_it_is(wheel):
    said = metadata(wheel)
    assert (said["Name"], said["Version"]) == ("rubert_ood", __version__)
    assert said["License-Expression"] == "Apache-2.0"
    assert said.get_all("License-File") == ["LICENSE"]
    assert "Typing :: Typed" in said.get_all("Classifier")
    assert said["Requires-Python"] == ">=3.11"
    assert [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]


def test_sdist_builds_without_a_repository(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "rubert_ood/py.typed"} <= names


def test_installed_wheel_runs_the_demo_without_a_checkout(installed, tmp_path):
    code = (
        "import json, sys, rubert_ood; print(json.dumps([rubert_ood.__file__, sys.path]))"
    )
    found = subprocess.check_output(
        [installed / "python", "-c", code],
        text=True,
        cwd=tmp_path,
        env=bare(dict(os.environ)),
    )
    place, path = json.loads(found)
    assert Path(place).is_relative_to(installed.parent)
    assert str(ROOT) not in path
    done = subprocess.run(
        [installed / "rubert-ood", "demo", "--num_train", "2000", "--num_score", "500",
         "--ray_address", "local"],
        cwd=tmp_path, env=bare(dict(os.environ)), capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"ads scored +│ +500 ", done.stdout)
    (report,) = tmp_path.glob("demo/scored/run_date=*/run_id=*/_run/report.html")
    assert report.read_text("utf-8").startswith("<!doctype html>")
    (evaluation,) = tmp_path.glob("demo/bundles/*/evaluation.html")
    assert "<style>" in evaluation.read_text("utf-8")

"""The wheel has the package and says what it is, and the demo runs with it alone."""

import json
import re
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from rubert_ood import __version__
from tests.e2e.conftest import run
from tests.e2e.wheel import CHECKOUT, ROOT

PACKAGE = ROOT / "rubert_ood"

pytestmark = pytest.mark.timeout(1200)  # the first one may wait for the demo


@pytest.fixture(scope="module")
def wheel(installed) -> zipfile.ZipFile:
    return zipfile.ZipFile(installed.wheel)


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


def test_sdist_builds_without_a_repository(installed):
    with tarfile.open(installed.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "rubert_ood/py.typed"} <= names


def test_installed_wheel_runs_the_demo_without_a_checkout(
    installed, notebook_demo, tmp_path
):
    code = (
        "import json, sys, rubert_ood; print(json.dumps([rubert_ood.__file__, sys.path]))"
    )
    python = [installed.bin / "python", "-c", code]
    found = run(python, timeout=60, without=CHECKOUT, cwd=tmp_path)
    place, path = json.loads(found.stdout)
    assert Path(place).is_relative_to(installed.folder)
    assert str(ROOT) not in path
    assert re.search(r"ads scored +│ +1,000 ", notebook_demo.output)
    report = notebook_demo.run / "_run" / "report.html"
    assert report.read_text("utf-8").startswith("<!doctype html>")
    evaluation = notebook_demo.bundle / "evaluation.html"
    assert "<style>" in evaluation.read_text("utf-8")

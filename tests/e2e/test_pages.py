"""The tutorial and the README, run: every command of "Your first night", the Python lines."""

import contextlib
import doctest
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Demo

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial" / "first_night.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
FIRST = "rubert-ood demo\n"
"""The first block, which the fixture `demo` has run already."""

pytestmark = pytest.mark.timeout(1200)  # the first one waits for the demo


def shell_blocks(page: str) -> list[str]:
    """Return the commands of a page, block by block."""
    return re.findall(r"^```bash\n(.*?)^```$", page, re.M | re.S)


@pytest.fixture(scope="module")
def night(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the blocks of the tutorial in one shell; return its folder, and what was printed."""
    folder = tmp_path_factory.mktemp("first_night")
    (folder / "demo").symlink_to(demo.folder)
    first, *others = shell_blocks(TUTORIAL)
    assert first == FIRST
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", "".join(others)],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return folder, done.stdout


def test_tutorial_ends_with_the_second_night_published_again(night):
    folder, output = night
    pointer = json.loads((folder / "nights" / "latest.json").read_text())
    assert pointer["path"].startswith("run_date=2026-11-24/")
    manifest = folder / "nights" / pointer["path"] / "_run" / "manifest.json"
    content = json.loads(manifest.read_text())
    assert content["outcome"] == "published"
    assert content["forced"] == "it was right after all"
    assert content["counts"]["rows_scored"] == 20_000
    assert "Traceback" not in output


def test_tutorial_shows_what_it_says(night):
    folder, output = night
    furniture, news = re.findall(r"^  (\S+)  \(confidence", output, re.M)
    assert (furniture, news) == ("Мебель", "Other")
    diff = json.loads((folder / "compared" / "diff.json").read_text())
    assert (diff["ads"]["both"], diff["changed"]) == (20_000, 0)
    days = [path.name for path in sorted((folder / "nights").glob("run_date=*"))]
    assert days == ["run_date=2026-11-23", "run_date=2026-11-24"]
    assert all(len(list((folder / "nights" / day).glob("run_id=*"))) == 1 for day in days)


def test_python_of_the_readme_prints_what_it_shows(demo: Demo, monkeypatch):
    """Numbers may differ by 0.2: the processor, and the training, move them."""
    (block,) = re.findall(r"^```pycon\n(.*?)^```$", README, re.M | re.S)
    monkeypatch.chdir(demo.folder.parent)
    place = f"{demo.folder.name}/bundles/{demo.bundle.name}"
    examples = doctest.DocTestParser().get_examples(block)
    assert sum(bool(example.want) for example in examples) == 2
    names: dict[str, object] = {}
    for example in examples:
        source = example.source.replace("demo/bundles/VERSION", place)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, "README", "single"), names)
        assert same(printed.getvalue().split(), example.want.split())


def same(found: list[str], wanted: list[str]) -> bool:
    """Say whether words are the same, and numbers with a point nearly so."""
    for one, other in zip(found, wanted, strict=True):
        if re.fullmatch(r"\d+\.\d+", other):
            assert float(one) == pytest.approx(float(other), abs=0.2)
        else:
            assert one == other
    return True

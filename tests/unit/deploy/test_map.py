"""deploy/README.md is the map: every file stands in it once, with what checks it."""

import re
from collections import Counter

import pytest

from tests.unit.deploy.composed import ROOT

MAP = ROOT / "deploy" / "README.md"
FOLDERS = ("deploy", ".github", "examples/airflow", "examples/dagster")
ALONE = ("cluster.yaml", "examples/rubert_ood_night.py")
HEAD = "| file | what it is | checked by | not run |"
LINK = re.compile(r"\[([^]]+)\]\(([^)#]+)\)")


def there() -> set[str]:
    """Return the files of the folders that the map is of."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return found | set(ALONE)


def place(target: str) -> str:
    """Return where a link of the map leads, from the root of the repository."""
    return (MAP.parent / target).resolve().relative_to(ROOT).as_posix()


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables of files."""
    found = []
    for table in re.findall(rf"^{re.escape(HEAD)}\n\|[-|]+\n((?:\|.*\n)+)", text, re.M):
        found += [line.strip("| ").split(" | ") for line in table.splitlines()]
    return found


def files(text: str) -> list[str]:
    """Return the files that have a row."""
    return [place(target) for row in rows(text) for _, target in LINK.findall(row[0])]


TEXT = MAP.read_text("utf-8")


def test_map_has_every_file_once_and_no_other():
    assert Counter(files(TEXT)) == Counter(there())


@pytest.mark.parametrize("row", rows(TEXT), ids=lambda row: LINK.findall(row[0])[0][0])
def test_row_of_the_map_says_what_checks_the_file_and_what_was_not_run(row):
    _, what, checks, not_run = row
    assert what
    assert not_run
    named = re.findall(r"`(tests/[\w./]+)`", checks)
    assert named or checks.startswith("nothing: ")
    for test in named:
        assert (ROOT / test).is_file()
    names = [target.rpartition("/")[2] for _, target in LINK.findall(row[0])]
    assert [label.rpartition("/")[2] for label, _ in LINK.findall(row[0])] == names


def test_links_of_the_map_lead_somewhere():
    links = [target for _, target in LINK.findall(TEXT) if "://" not in target]
    assert [target for target in links if not (MAP.parent / target).exists()] == []


def test_files_of_a_map_are_those_of_its_tables_alone():
    row = "| [a.py](docker/a.py), [b](../b) | c | d | e |"
    text = f"[no](no.md)\n{HEAD}\n|---|---|---|---|\n{row}\n"
    assert files(text) == ["deploy/docker/a.py", "b"]
    assert files(text.replace("checked by", "")) == []

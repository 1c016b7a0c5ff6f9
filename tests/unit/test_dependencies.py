"""Floors below which a known hole is open, in what is declared and in what the tests run with."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
HOLES = {"transformers": "5.3", "torch": "2.10", "ray": "2.60", "certifi": "2026.10.19"}


@pytest.mark.parametrize("name", HOLES)
def test_a_version_with_a_known_hole_can_neither_be_installed_nor_is_it(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements = {
        item.name: item.specifier for item in map(Requirement, project["dependencies"])
    }
    floors = [
        Version(item.version) for item in requirements[name] if item.operator == ">="
    ]
    assert floors >= [Version(HOLES[name])]
    assert Version(version(name)) >= Version(HOLES[name])


def test_pinned_versions_are_not_below_their_floors():
    pins = dict(
        re.findall(
            r"^([\w.-]+)==(\S+)$",
            (ROOT / "constraints.txt").read_text("utf-8"),
            re.MULTILINE,
        )
    )
    for name, floor in HOLES.items():
        assert Version(pins[name]) >= Version(floor)

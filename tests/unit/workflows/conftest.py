"""Runs that lie below one output, as the verbs find them."""

import shutil
from pathlib import Path

import pytest

DAY = "run_date=2026-11-24"


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def place(full_run, out):
    """Copy the scored run below the output into a folder of this name; returns its URI."""

    def copy(run_id: str) -> str:
        return str(shutil.copytree(full_run.folder, out / DAY / f"run_id={run_id}"))

    return copy

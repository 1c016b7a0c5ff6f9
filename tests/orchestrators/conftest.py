"""The examples of an orchestrator, a program that only ends, and a webhook for alerts.

`make orchestrators` runs each file here in an environment of its own: nothing of rubert_ood is
installed there.
"""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.orchestrators.fake_program import FakeProgram, Webhook

if importlib.util.find_spec("airflow"):  # it reads where it lives when it is imported
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
EXAMPLES = Path(__file__).parents[2] / "examples"


def example(orchestrator: str) -> ModuleType:
    """Import the example as the orchestrator does: both files lie in its folder."""
    sys.path[:0] = [str(EXAMPLES), str(EXAMPLES / orchestrator)]
    return importlib.import_module("rubert_ood_nightly")


@pytest.fixture
def alerts() -> Iterator[Webhook]:
    server = Webhook()
    yield server
    server.shutdown()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: Any, alerts: Webhook) -> FakeProgram:
    import rubert_ood_night as night

    monkeypatch.setattr(night, "CHECKOUT", str(tmp_path))
    monkeypatch.setattr(night, "ALERTS_URL", alerts.url)
    return FakeProgram(tmp_path, monkeypatch)

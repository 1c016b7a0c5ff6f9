"""A catalog of Iceberg in one SQLite file, configured as pyiceberg's users do."""

from pathlib import Path

import pytest

from tests.unit.tables.published_runs import CATALOG


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    variable = f"PYICEBERG_CATALOG__{CATALOG.upper()}__"
    monkeypatch.setenv(f"{variable}TYPE", "sql")
    monkeypatch.setenv(f"{variable}URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv(f"{variable}WAREHOUSE", f"file://{tmp_path}/warehouse")
    return str(tmp_path / "out")

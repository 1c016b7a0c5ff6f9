"""docs/how_to/readers.md, run: its examples read what is published, from a folder and from S3."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest

from rubert_ood import storage
from rubert_ood.settings import GateSettings, ScoreSettings
from rubert_ood.settings.yaml_file import read_yaml
from rubert_ood.workflows.score import score
from tests.conftest import read_parts, write_parquet
from tests.s3.server import BUCKET, seaweedfs

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "readers.md"
PLACE = 'OUTPUT = "scored"'
COLLECT = """
import json, sys
import duckdb
if hasattr(ads, "toPandas"):
    ads = ads.toPandas()
found = duckdb.sql("SELECT ad_id, label FROM ads ORDER BY ad_id").fetchall()
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


@dataclass(frozen=True)
class Block:
    """A code block of the page."""

    heading: str
    language: str
    code: str


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page with the headings that they stand under."""
    found, heading = [], ""
    for match in re.finditer(r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        if match[1]:
            heading = match[1]
        else:
            found.append(Block(heading, match[2], match[3]))
    return found


RUN = blocks(PAGE.read_text("utf-8").partition("\n## Not run by our tests\n")[0])
IN_PYTHON = [block for block in RUN if block.language == "python"]
ON_S3 = [block for block in IN_PYTHON if "s3://marketplace" in block.code]


def name(block: Block) -> str:
    kind = re.search("deltalake|pyiceberg", block.code)
    return kind[0] if kind else block.heading


@dataclass(frozen=True)
class Published:
    """A folder with an output of two nights, and what its readers shall see."""

    folder: Path
    rows: list[list[str]]
    """Id and label, by id, of the second night."""


@pytest.fixture(scope="module")
def published(ads, bundle, tmp_path_factory) -> Published:
    folder = tmp_path_factory.mktemp("readers")
    (block,) = [block for block in RUN if block.language == "yaml"]
    (folder / "tables.yaml").write_text(block.code)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in catalog_in(folder).items():
            patch.setenv(key, value)
        for day in (23, 24):
            write_parquet(folder / f"in{day}" / "a.parquet", ads.slice(day, 40))
            settings = ScoreSettings(
                config=str(folder / "tables.yaml"),
                input_uri=str(folder / f"in{day}"),
                bundle_uri=bundle.uri,
                output_uri=str(folder / "scored"),
                run_date=date(2026, 11, day),
                shard_rows=15,
                executor="local",
                report_changes=False,
                gate=GateSettings(max_ood_rate=1, max_other_rate=1, max_class_shift=1),
            )
            run = score(settings)
            assert [note.error for note in run.tables] == ["", ""]
    parts = read_parts(run.run_uri).select(["ad_id", "label"]).sort_by("ad_id")
    assert parts.num_rows == 40
    return Published(folder, [list(row.values()) for row in parts.to_pylist()])


def catalog_in(folder: Path) -> dict[str, str]:
    """Return what configures pyiceberg, as the page says."""
    variable = "PYICEBERG_CATALOG__DEFAULT__"
    return {
        f"{variable}TYPE": "sql",
        f"{variable}URI": f"sqlite:///{folder}/catalog.db",
        f"{variable}WAREHOUSE": f"file://{folder}/warehouse",
    }


def rows_by(code: str, published: Published, **environment: str) -> list[list[str]]:
    """Run an example in a process of its own; return what it has read as `ads`."""
    script, result = published.folder / "example.py", published.folder / "rows.json"
    script.write_text(code + COLLECT, encoding="utf-8")
    result.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, script, result],
        cwd=published.folder,
        env=os.environ | catalog_in(published.folder) | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(result.read_text())


def test_page_has_these_examples():
    names = ["DuckDB", "pandas", "pyarrow", "polars", "rubert_ood", "Spark"]
    assert [name(block) for block in IN_PYTHON] == [*names, "deltalake", "pyiceberg"]
    assert [name(block) for block in ON_S3] == names[:-1]
    others = [(block.heading, block.language) for block in RUN if block not in IN_PYTHON]
    assert others == [("DuckDB", "sql"), ("Tables", "yaml")]


def test_settings_of_the_page_are_those_of_score(published):
    assert read_yaml(str(published.folder / "tables.yaml")) == {
        "tables": {"delta": True, "iceberg": "ads.classified", "catalog": "default"}
    }


@pytest.mark.parametrize("block", IN_PYTHON, ids=name)
def test_example_reads_the_published_run_from_a_folder(published, block):
    if block.heading == "Spark" and not (find_spec("pyspark") and shutil.which("java")):
        pytest.skip("needs pyspark, of the extra `spark`, and Java")
    assert rows_by(block.code, published) == published.rows


def test_sql_of_the_page_counts_the_labels_of_the_published_run(published, monkeypatch):
    (block,) = [block for block in RUN if block.language == "sql"]
    monkeypatch.chdir(published.folder)
    with duckdb.connect() as connection:
        found = dict(connection.execute(block.code).fetchall())
    labels = [label for _, label in published.rows]
    assert found == {label: labels.count(label) for label in set(labels)}


@pytest.fixture(scope="module")
def s3_env(published, tmp_path_factory) -> Iterator[dict[str, str]]:
    """Copy the output to a real S3 server; yield the environment that leads to it."""
    with (
        seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as env,
        pytest.MonkeyPatch.context() as patch,
    ):
        for key, value in env.items():
            patch.setenv(key, value)
        storage.objects._s3.cache_clear()
        root = published.folder / "scored"
        for path in root.rglob("*"):
            if path.is_file() and path.suffix != ".lock":
                uri = f"s3://{BUCKET}/classified/{path.relative_to(root)}"
                storage.put_bytes(uri, path.read_bytes())
        yield {**env, "AWS_ALLOW_HTTP": "true"}
        storage.objects._s3.cache_clear()


@pytest.mark.parametrize("block", ON_S3, ids=name)
def test_example_reads_the_published_run_from_s3(published, s3_env, block):
    code = block.code.replace(PLACE, 'OUTPUT = "s3://marketplace/classified"')
    assert code != block.code
    assert rows_by(code, published, **s3_env) == published.rows

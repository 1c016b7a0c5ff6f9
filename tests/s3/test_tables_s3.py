"""Tables over runs on a real S3 server: both formats, a stale publisher, their own readers."""

import duckdb
import pytest
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog

from rubert_ood.ads.lakehouse import s3_options
from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.tables.follow import follow_pointer
from tests.unit.tables.published_runs import (
    CATALOG,
    ICEBERG_NAME,
    OPEN,
    both,
    delta,
    expected_ids,
    follow_asleep,
    put_run,
)


@pytest.fixture
def out(s3, tmp_path, monkeypatch) -> str:
    variable = f"PYICEBERG_CATALOG__{CATALOG.upper()}__"
    monkeypatch.setenv(f"{variable}TYPE", "sql")
    monkeypatch.setenv(f"{variable}URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv(f"{variable}WAREHOUSE", f"{s3}/warehouse-{tmp_path.name}")
    return f"{s3}/tables/{tmp_path.name}"


def held(out: str) -> tuple[list[str], list[str]]:
    """Return the ids in both tables, as readers with credentials of their own find them."""
    from pyiceberg.utils.config import Config

    options = {**Config().get_catalog_config(CATALOG), **s3_options("s3.")}
    iceberg = load_catalog(CATALOG, **options).load_table(ICEBERG_NAME).scan().to_arrow()
    delta = DeltaTable(out, storage_options=s3_options("aws_")).to_pyarrow_dataset()
    return _sorted_ids(iceberg), _sorted_ids(delta)


def _sorted_ids(ads: object) -> list[str]:
    rows = duckdb.sql("SELECT ad_id FROM ads ORDER BY ad_id").fetchall()
    return [ad_id for (ad_id,) in rows]


def test_tables_on_s3_follow_the_pointer_there_and_back(out):
    for run_id, finished in (("r1", "10:00:00"), ("r2", "11:00:00")):
        run = publish_run(put_run(out, run_id, finished=finished), OPEN)
        follow_pointer(out, both(out))
        assert held(out) == (expected_ids(run_id),) * 2
        notes = read_manifest(run.run_uri).tables
        assert [note.error for note in notes] == ["", ""]
        follow_pointer(out, both(out))
        assert read_manifest(run.run_uri).tables == notes
    roll_back(out, "wrong labels")
    follow_pointer(out, both(out))
    assert held(out) == (expected_ids("r1"),) * 2


def test_a_publisher_on_s3_that_slept_does_not_put_the_older_run_back(out, monkeypatch):
    table = delta(out)
    publish_run(put_run(out, "r0", finished="09:00:00"), OPEN)
    follow_pointer(out, both(out))
    publish_run(put_run(out, "r1"), OPEN)
    assert follow_asleep(out, table, monkeypatch) == ["run_date=2026-11-24/run_id=r1"]
    assert held(out) == (expected_ids("r0"), expected_ids("r2"))

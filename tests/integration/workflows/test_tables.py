"""Tables beside the pointer, by the verbs: score, publish, rollback, backfill; deaths between."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.reports import run_page
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.settings import (
    BackfillSettings,
    GateSettings,
    PublishSettings,
    RollbackSettings,
    ScoreSettings,
    TablesSettings,
)
from rubert_ood.tables import follow
from rubert_ood.workflows.backfill import backfill
from rubert_ood.workflows.publish import publish
from rubert_ood.workflows.rollback import rollback
from rubert_ood.workflows.score import score
from tests.conftest import read_parts, write_parquet
from tests.integration.scoring.test_crash_points import Killed, Writes
from tests.unit.tables.conftest import out as out
from tests.unit.tables.published_runs import (
    CATALOG,
    ICEBERG_NAME,
    delta_rows,
    iceberg_rows,
    versions,
)

TABLES = TablesSettings(delta=True, iceberg=ICEBERG_NAME, catalog=CATALOG)
WIDE_OPEN = GateSettings(
    max_error_rate=1,
    max_ood_rate=1,
    max_other_rate=1,
    max_duplicate_rate=1,
    max_class_shift=1,
    max_churn=1,
)


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(run_page, "run_html", lambda manifest, *_: manifest.outcome)


@pytest.fixture
def night(ads, bundle, out, tmp_path):
    """The settings of a night; each has ads and a run id of its own."""

    def make(run_id: str, *, start: int = 0, **changes) -> ScoreSettings:
        source = tmp_path / "in" / run_id
        if not source.exists():  # another file is another run
            write_parquet(source / "a.parquet", ads.slice(start, 30))
        values = {
            "input_uri": str(source),
            "bundle_uri": bundle.uri,
            "output_uri": out,
            "gate": WIDE_OPEN,
            "shard_rows": 10,
            "run_id": run_id,
            "run_date": date(2026, 11, 24),
            "executor": "local",
            "report_changes": False,
            "tables": TABLES,
        }
        return ScoreSettings(**values | changes)

    return make


def assert_tables_hold(run_uri: str) -> None:
    """Compare both tables, read by DuckDB, with the parts, read by pyarrow."""
    parts = read_parts(run_uri).replace_schema_metadata().to_pylist()
    expected = sorted(parts, key=lambda row: row["ad_id"])
    assert len(expected) == 30
    for rows in (iceberg_rows(), delta_rows(read_manifest(run_uri).output_uri)):
        found = pa.Table.to_pylist(rows)
        names = expected[0].keys()
        assert [{name: row[name] for name in names} for row in found] == expected


def notes(run_uri: str) -> list[tuple[str, str]]:
    return sorted((note.kind, note.error) for note in read_manifest(run_uri).tables)


def test_score_lets_tables_hold_the_run_and_again_registers_nothing(night, out):
    first = score(night("r1", carry_columns=("price",)))
    assert_tables_hold(first.run_uri)
    assert [note.error for note in first.tables] == ["", ""]
    before = versions(out)
    again = score(night("r1", carry_columns=("price",)))
    assert again.tables == first.tables
    assert versions(out) == before
    second = score(night("r2", start=30))  # without the column
    assert_tables_hold(second.run_uri)


def test_rollback_and_force_take_the_tables_along_without_being_told(night):
    first, second = score(night("r1")), score(night("r2", start=30))
    pointer = rollback(RollbackSettings(output_uri=first.output_uri, reason="wrong"))
    assert pointer.run_id == "r1"
    assert_tables_hold(first.run_uri)
    publish(PublishSettings(run_uri=second.run_uri, gate=WIDE_OPEN, force="it was right"))
    assert_tables_hold(second.run_uri)


def test_publish_registers_what_score_could_not(night, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.delenv(f"PYICEBERG_CATALOG__{CATALOG.upper()}__URI")
        run = score(night("r1"))
    assert run.outcome == "published"
    assert "iceberg table ads.classified does not hold the published run" in caplog.text
    done, (kind, error) = notes(run.run_uri)
    assert (done, kind) == (("delta", ""), "iceberg")
    assert "URI" in error
    assert run.counts.rows_ood + run.counts.rows_other > 0  # which this gate would refuse
    gate = GateSettings(max_ood_rate=0, max_other_rate=0)
    publish(PublishSettings(run_uri=run.run_uri, gate=gate))
    assert notes(run.run_uri) == [("delta", ""), ("iceberg", "")]
    assert read_manifest(run.run_uri).gate == run.gate
    assert_tables_hold(run.run_uri)


def test_the_next_night_registers_what_the_one_before_could_not(night, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(follow, "_open", lambda *_: 1 / 0)
        failed = score(night("r1"))
    for kind, (noted, error) in zip(
        ("delta", "iceberg"), notes(failed.run_uri), strict=True
    ):
        assert noted == kind
        assert error.startswith("ZeroDivisionError in tests.integration")
    assert_tables_hold(score(night("r2", start=30)).run_uri)


def test_score_refuses_vectors_in_tables_before_any_work(night, out):
    with pytest.raises(SettingsError, match=r"^tables\.delta: column 'embedding'"):
        score(night("r1", embedding=True))
    assert not Path(out).exists()


def test_score_refuses_carried_columns_that_are_twins_before_any_work(night, out, ads):
    settings = night("r1", carry_columns=("seller",))
    some = ads.slice(0, 30)
    seller = pa.StructArray.from_arrays([pa.array(range(30))] * 2, ["id", "Id"])
    twins = some.append_column("seller", seller)
    write_parquet(Path(settings.input_uri, "a.parquet"), twins)
    with pytest.raises(
        SettingsError, match=r"columns 'seller\.id' and 'seller\.Id' differ"
    ):
        score(settings)
    assert not Path(out).exists()


def test_score_without_publication_leaves_the_tables(night, out):
    first = score(night("r1"))
    before = versions(out)
    second = score(night("r2", start=30, publish=False))
    assert second.outcome == "complete"
    assert versions(out) == before
    assert_tables_hold(first.run_uri)


def test_score_that_died_at_any_write_after_the_pointer_is_finished(night, monkeypatch):
    writes = Writes(monkeypatch)
    score(night("whole", run_date=date(2026, 11, 23)))
    names = [uri.rpartition("/")[2] for uri in writes.names]
    first, num_writes = names.index("latest.json"), len(names)
    assert (
        names[first:].count("manifest.json") == 3
    )  # published, and a note for each table
    for number in range(first, num_writes):
        for after in (False, True):
            run_id = f"r{number}{after}"
            writes.revive()
            writes.die_at = (number, after)
            with pytest.raises(Killed):
                score(night(run_id))
            writes.revive()
            run = score(night(run_id))
            assert notes(run.run_uri) == [("delta", ""), ("iceberg", "")]
            assert_tables_hold(run.run_uri)


def test_backfill_moves_the_tables_only_with_the_catalogue(
    night, ads, bundle, out, tmp_path
):
    newest = score(night("r1"))
    before = versions(out)
    for day in ("2026-11-23", "2026-11-25"):
        write_parquet(tmp_path / "days" / day / "a.parquet", ads.slice(60, 30))
    settings = BackfillSettings(
        bundle_uri=bundle.uri,
        output_uri=out,
        gate=WIDE_OPEN,
        executor="local",
        input_uri=str(tmp_path / "days" / "{run_date}"),
        from_date=date(2026, 11, 23),
        to_date=date(2026, 11, 23),
        tables=TABLES,
    )
    backfill(settings)
    assert read_pointer(out).run_id == "r1"
    assert versions(out) == before
    assert_tables_hold(newest.run_uri)
    later = {"from_date": date(2026, 11, 25), "to_date": date(2026, 11, 25)}
    (day,) = backfill(settings.model_copy(update=later))
    assert read_pointer(out).run_date == "2026-11-25"
    assert_tables_hold(day.run_uri)

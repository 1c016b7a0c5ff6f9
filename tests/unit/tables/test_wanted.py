import dataclasses

import pyarrow as pa
import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.runs.plan import BundleName, Plan, pack_schema
from rubert_ood.settings import TablesSettings
from rubert_ood.tables.wanted import check_tables, known_tables, wanted_tables
from tests.unit.tables.published_runs import ICEBERG, OPEN, delta, put_published, put_run

BOTH = TablesSettings(delta=True, iceberg="ads.classified", catalog="unit")


@pytest.fixture
def plan():
    return Plan(
        run_uri="/out/run_date=2026-11-24/run_id=x",
        run_id="x",
        run_date="2026-11-24",
        fingerprint="f" * 64,
        identity={},
        bundle=BundleName(fingerprint="b" * 64),
        input_uri="/in",
        output_uri="/out",
        carry_columns=[],
        embedding=False,
        use_gpu=False,
        precision="fp32",
        token_budget=100,
        shards=[],
        quarantined=[],
        empty_files=[],
        input_bytes=1000,
    )


def test_wanted_tables_are_those_of_the_settings():
    assert wanted_tables("/out", TablesSettings()) == []
    assert wanted_tables("/out", BOTH) == [delta("/out"), ICEBERG]


@pytest.mark.parametrize("name", ["classified", ".a", "a.", "a b.c", "a..b"])
def test_iceberg_wants_a_namespace_and_a_name(name):
    with pytest.raises(SettingsError, match="iceberg"):
        TablesSettings(iceberg=name)


def test_known_tables_without_settings_are_those_of_the_runs(out):
    assert known_tables(out, TablesSettings()) == []
    publish_run(put_run(out, "r1"), OPEN)
    assert known_tables(out, TablesSettings()) == []
    assert known_tables(out, BOTH) == [delta(out), ICEBERG]
    put_published(out, "r2", finished="11:00:00")
    found = known_tables(out, TablesSettings())
    assert {note.key for note in found} == {delta(out).key, ICEBERG.key}
    roll_back(out, "wrong labels")  # r1 had none
    found = known_tables(out, TablesSettings())
    assert {note.key for note in found} == {delta(out).key, ICEBERG.key}


def test_known_tables_of_a_damaged_manifest_are_said_to_be_unknown(out, caplog):
    manifest = put_published(out, "r1")
    (path,) = (f"{manifest.run_uri}/_run/manifest.json",)
    with open(path, "w") as file:
        file.write("{")
    assert known_tables(out, TablesSettings()) == []
    assert "does not know which tables follow that run" in caplog.text


def test_check_tables_asks_nothing_of_a_run_without_tables(plan):
    check_tables(dataclasses.replace(plan, embedding=True), TablesSettings())


def test_check_tables_refuses_vectors_and_carried_columns_that_no_table_has(plan):
    check_tables(plan, BOTH)
    with pytest.raises(
        SettingsError, match=r"^tables\.delta: column 'embedding' has the type"
    ):
        check_tables(dataclasses.replace(plan, embedding=True), BOTH)
    schema = pa.schema([("price", pa.int64()), ("code", pa.uint8())])
    carrying = dataclasses.replace(plan, carry_schema=pack_schema(schema))
    with pytest.raises(
        SettingsError, match=r"^tables\.iceberg: column 'code' has the type"
    ):
        check_tables(carrying, TablesSettings(iceberg="a.b"))


@pytest.mark.parametrize(
    "tables", [TablesSettings(delta=True), TablesSettings(iceberg="a.b")]
)
def test_check_tables_refuses_carried_columns_that_are_twins_of_others(plan, tables):
    for names, words in (
        (["Label"], "columns 'label' and 'Label' differ only in case"),
        (["Price", "price"], "columns 'Price' and 'price' differ only in case"),
        (["Sub_label"], "columns 'sub_label' and 'Sub_label' differ only in case"),
    ):
        schema = pa.schema([(name, pa.string()) for name in names])
        carrying = dataclasses.replace(plan, carry_schema=pack_schema(schema))
        with pytest.raises(SettingsError, match=words):
            check_tables(carrying, tables, subheads=True)
        check_tables(carrying, TablesSettings(), subheads=True)
    check_tables(carrying, tables)


def test_check_tables_names_the_command_that_installs_a_library(plan, monkeypatch):
    monkeypatch.setattr("rubert_ood.tables.wanted.find_spec", lambda _: None)
    with pytest.raises(
        SettingsError,
        match=(
            r"tables\.delta: the package deltalake is missing\. Run pip install"
            r" 'rubert_ood\[delta\]'"
        ),
    ):
        check_tables(plan, BOTH)

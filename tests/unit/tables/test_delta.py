"""What changes from night to night in a Delta table, and what may not happen to its files."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, TableFeatures, write_deltalake

from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.tables.follow import follow_pointer
from tests.unit.tables.published_runs import (
    OPEN,
    delta,
    delta_rows,
    expected_ids,
    ids,
    put_run,
)


def publish(out: str, run_id: str, finished: str, **carried: pa.Array) -> str:
    manifest = publish_run(put_run(out, run_id, finished=finished, **carried), OPEN)
    follow_pointer(out, [delta(out)])
    return read_manifest(manifest.run_uri).tables[0].error


def test_replace_gives_the_table_the_columns_of_the_run(out):
    assert publish(out, "r1", "10:00:00", price=pa.array([1, 2, 3], pa.int32())) == ""
    assert publish(out, "r2", "11:00:00", price=pa.array(["1", "2", None])) == ""
    assert delta_rows(out)["price"].to_pylist() == ["1", "2", None] * 2
    assert publish(out, "r3", "12:00:00", tags=pa.array([["a"], [], None])) == ""
    rows = delta_rows(out)
    assert "price" not in rows.schema.names
    assert rows["tags"].to_pylist() == [["a"], [], None] * 2
    roll_back(out, "wrong labels")
    roll_back(out, "wrong labels")
    follow_pointer(out, [delta(out)])
    rows = delta_rows(out)
    assert ids(rows) == expected_ids("r1")
    assert rows["price"].to_pylist() == [1, 2, 3] * 2


@pytest.mark.parametrize("at_first", [False, True])
def test_replace_with_times_without_a_zone_leaves_a_table_that_can_be_read(out, at_first):
    if not at_first:
        assert publish(out, "r1", "10:00:00") == ""
    when = pa.array([None, 0, 1], pa.timestamp("us"))
    assert publish(out, "r2", "11:00:00", when=when) == ""
    assert delta_rows(out)["when"].to_pylist() == when.to_pylist() * 2
    assert publish(out, "r3", "12:00:00") == ""
    assert ids(delta_rows(out)) == expected_ids("r3")


def test_one_commit_names_no_file_twice(out):
    publish(out, "r1", "10:00:00")
    DeltaTable(out).alter.set_table_name(
        "classified"
    )  # now the newest commit is not ours
    follow_pointer(out, [delta(out)])
    assert ids(delta_rows(out)) == expected_ids("r1")
    for path in Path(out, "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        added = [action["add"]["path"] for action in actions if "add" in action]
        removed = [action["remove"]["path"] for action in actions if "remove" in action]
        assert len({*added, *removed}) == len(added) + len(removed)


def test_a_table_leaves_the_files_of_runs_to_the_runs(out):
    for number in range(1, 4):
        publish(out, f"r{number}", f"1{number}:00:00")
    table = DeltaTable(out)
    assert table.vacuum(dry_run=True, full=True) == []
    table.optimize.compact()
    DeltaTable(out).vacuum(dry_run=False, full=True)
    roll_back(out, "wrong labels")
    follow_pointer(out, [delta(out)])
    assert ids(delta_rows(out)) == expected_ids("r2")


def test_replace_fills_a_table_that_somebody_has_made(out):
    write_deltalake(out, pa.table({"ad_id": ["x"]}))
    assert publish(out, "r1", "10:00:00") == ""
    assert ids(delta_rows(out)) == expected_ids("r1")
    configuration = DeltaTable(out).metadata().configuration
    assert configuration["delta.deletedFileRetentionDuration"] == "interval 520 weeks"


def test_versions_before_hold_the_runs_before(out):
    publish(out, "r1", "10:00:00")
    manifest = read_manifest(f"{out}/run_date=2026-11-24/run_id=r1")
    publish(out, "r2", "11:00:00")
    before = DeltaTable(out, version=manifest.tables[0].version)
    assert sorted(before.to_pyarrow_table()["ad_id"].to_pylist()) == expected_ids("r1")


def test_replace_refuses_a_table_whose_rows_others_delete_by_vectors(out):
    publish(out, "r1", "10:00:00")
    DeltaTable(out).alter.add_feature(
        [TableFeatures.DeletionVectors], allow_protocol_versions_increase=True
    )
    error = publish(out, "r2", "11:00:00")
    assert error == (
        "it has the feature deletionVectors, which is not supported. Drop the"
        " feature, or move _delta_log away"
    )


def test_replace_refuses_a_table_with_partitions_and_leaves_it_readable(out):
    before = pa.table({"ad_id": ["x", "y"], "city": ["M", "K"]})
    write_deltalake(out, before, partition_by=["city"])
    error = publish(out, "r1", "10:00:00", city=pa.array(["M", "M", "K"]))
    assert error == (
        "it is partitioned by city, but the files of a run are not. Move _delta_log away"
    )
    assert DeltaTable(out).version() == 0
    assert delta_rows(out).select(["ad_id", "city"]).to_pylist() == before.to_pylist()
    Path(out, "_delta_log").rename(Path(out, "_delta_log_before"))
    follow_pointer(out, [delta(out)])
    assert delta_rows(out)["city"].to_pylist() == ["M", "M", "K"] * 2


def test_replace_names_the_property_that_keeps_a_table_from_being_replaced(out):
    table = pa.table({"ad_id": ["x"]})
    write_deltalake(out, table, configuration={"delta.appendOnly": "true"})
    assert publish(out, "r1", "10:00:00") == (
        "its property delta.appendOnly is true, but each run replaces the one"
        " before. Unset it, or move _delta_log away"
    )
    DeltaTable(out).alter.set_table_properties({"delta.appendOnly": "false"})
    follow_pointer(out, [delta(out)])
    assert ids(delta_rows(out)) == expected_ids("r1")


def test_replace_that_is_refused_though_nobody_else_wrote_says_why(out):
    write_deltalake(out, pa.table({"ad_id": ["x"]}))
    DeltaTable(out).alter.add_feature(
        [TableFeatures.RowTracking], allow_protocol_versions_increase=True
    )
    assert publish(out, "r1", "10:00:00") == (
        "Unsupported table features required: [RowTracking]"
    )


def test_replace_refuses_columns_under_other_names_of_an_old_protocol(out):
    mapped = {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1"}
    field = {"name": "ad_id", "type": "string", "nullable": True, "metadata": mapped}
    metadata = {
        "id": "a0000000-0000-0000-0000-000000000000",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": [field]}),
        "partitionColumns": [],
        "configuration": {
            "delta.columnMapping.mode": "name",
            "delta.columnMapping.maxColumnId": "1",
        },
    }
    actions = [
        {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}},
        {"metaData": metadata},
    ]
    log = Path(out, "_delta_log", f"{0:020}.json")
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(map(json.dumps, actions)))
    assert publish(out, "r1", "10:00:00").startswith("it has the feature columnMapping")
    assert DeltaTable(out).version() == 0

"""What changes from night to night in an Iceberg table, and what may not happen to its files."""

import pyarrow as pa

from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.tables.follow import follow_pointer
from tests.unit.tables.published_runs import (
    ICEBERG,
    ICEBERG_NAME,
    OPEN,
    catalog,
    expected_ids,
    iceberg_rows,
    ids,
    put_run,
)


def publish(out: str, run_id: str, finished: str, **carried: pa.Array) -> str:
    manifest = publish_run(put_run(out, run_id, finished=finished, **carried), OPEN)
    follow_pointer(out, [ICEBERG])
    notes = read_manifest(manifest.run_uri).tables
    return notes[0].error


def test_replace_adds_columns_and_keeps_those_that_a_run_lacks(out):
    assert publish(out, "r1", "10:00:00", price=pa.array([1, 2, 3], pa.int32())) == ""
    tags = pa.array([["a"], [], None])
    when = pa.array([None, 1, 2], pa.timestamp("us"))
    assert publish(out, "r2", "11:00:00", tags=tags, when=when) == ""
    rows = iceberg_rows()
    assert ids(rows) == expected_ids("r2")
    assert rows["price"].null_count == 6
    assert rows["tags"].to_pylist() == [["a"], [], None] * 2
    roll_back(out, "wrong labels")
    follow_pointer(out, [ICEBERG])
    rows = iceberg_rows()
    assert ids(rows) == expected_ids("r1")
    assert rows["price"].to_pylist() == [1, 2, 3] * 2
    assert rows["tags"].null_count == rows["when"].null_count == 6


def test_replace_widens_numbers_and_reads_the_older_run_all_the_same(out):
    assert publish(out, "r1", "10:00:00", price=pa.array([1, 2, 3], pa.int32())) == ""
    assert publish(out, "r2", "11:00:00", price=pa.array([1, 2, 2**40])) == ""
    assert iceberg_rows()["price"].to_pylist() == [1, 2, 2**40] * 2
    roll_back(out, "wrong labels")
    follow_pointer(out, [ICEBERG])
    assert iceberg_rows()["price"].to_pylist() == [1, 2, 3] * 2


def test_replace_with_a_column_of_another_type_says_what_to_do_and_changes_nothing(out):
    assert publish(out, "r1", "10:00:00", price=pa.array([1, 2, 3])) == ""
    error = publish(out, "r2", "11:00:00", price=pa.array(["1", "2", "3"]))
    assert error == (
        "Cannot change column type: price: long -> string;"
        " drop that column from the table, or name another table"
    )
    assert ids(iceberg_rows()) == expected_ids("r1")
    with (
        catalog()
        .load_table(ICEBERG_NAME)
        .update_schema(allow_incompatible_changes=True) as update
    ):
        update.delete_column("price")
    follow_pointer(out, [ICEBERG])
    assert iceberg_rows()["price"].to_pylist() == ["1", "2", "3"] * 2


def test_replace_fills_a_table_that_somebody_has_made(out):
    catalog().create_namespace("ads")
    schema = pa.schema([("ad_id", pa.string()), ("note", pa.string())])
    catalog().create_table(ICEBERG_NAME, schema=schema)
    assert publish(out, "r1", "10:00:00") == ""
    rows = iceberg_rows()
    assert ids(rows) == expected_ids("r1")
    assert rows["note"].null_count == 6


def test_a_table_leaves_the_files_of_runs_to_the_runs(out):
    publish(out, "r1", "10:00:00")
    publish(out, "r2", "11:00:00")
    table = catalog().load_table(ICEBERG_NAME)
    assert table.properties["gc.enabled"] == "false"
    assert table.properties["commit.retry.num-retries"] == "0"
    first = table.metadata.snapshots[0].snapshot_id
    before = ids(table.scan(snapshot_id=first).to_arrow().sort_by("ad_id"))
    assert before == expected_ids("r1")


def test_files_are_named_so_that_every_engine_finds_them(out):
    publish(out, "r1", "10:00:00")
    tasks = catalog().load_table(ICEBERG_NAME).scan().plan_files()
    assert sorted(task.file.file_path for task in tasks) == [
        f"file://{out}/run_date=2026-11-24/run_id=r1/part-r1-{number}.parquet"
        for number in range(2)
    ]

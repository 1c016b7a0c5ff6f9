"""What changes from night to night in an Iceberg table, and what may not happen to its files."""

import warnings

import pyarrow as pa
import pytest
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.types import NestedField, StringType

from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.tables.follow import follow_pointer
from tests.unit.tables.published_runs import (
    CATALOG,
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
        "Cannot change column type: price: long -> string. Drop column 'price'"
        " from the table, or choose another table"
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


def test_a_catalog_that_nothing_describes_is_said_to_be_so(out, monkeypatch):
    for name in ("TYPE", "URI", "WAREHOUSE"):
        monkeypatch.delenv(f"PYICEBERG_CATALOG__{CATALOG.upper()}__{name}")
    error = publish(out, "r1", "10:00:00")
    assert error.startswith(
        f"the configuration of catalog {CATALOG!r} is wrong: URI missing"
    )


def make_table(*columns: NestedField, spec: PartitionSpec | None = None) -> None:
    catalog().create_namespace("ads")
    options = {} if spec is None else {"partition_spec": spec}
    catalog().create_table(ICEBERG_NAME, Schema(*columns), **options)


@pytest.mark.parametrize("transform", [IdentityTransform(), BucketTransform(4)], ids=str)
def test_replace_refuses_a_table_with_partitions_and_says_no_value(
    out, caplog, transform
):
    field = PartitionField(1, 1000, transform, "by_phone")
    make_table(
        NestedField(1, "phone", StringType(), required=False), spec=PartitionSpec(field)
    )
    error = publish(out, "r1", "10:00:00", phone=pa.array(["+7 916", "+7 917", None]))
    assert error == (
        "it is partitioned by by_phone, but the files of a run are not. Use another table"
    )
    assert "+7 91" not in caplog.text
    assert catalog().load_table(ICEBERG_NAME).properties == {}


@pytest.mark.parametrize("inner", [False, True])
def test_replace_names_the_required_column_that_a_run_lacks(out, capfd, inner):
    lacking = pa.field("seller", pa.string(), nullable=False)
    column, name, carried = lacking, "seller", {}
    if inner:
        column, name = (
            pa.field("at", pa.struct([("x", pa.int64()), lacking])),
            "at.seller",
        )
        carried = {"at": pa.array([{"x": 1}, {"x": 2}, None])}
    catalog().create_namespace("ads")
    catalog().create_table(ICEBERG_NAME, pa.schema([column]))
    assert publish(out, "r1", "10:00:00", **carried) == (
        f"its column {name!r} is required, but the run lacks it. Make it"
        " optional, or choose another table"
    )
    printed = capfd.readouterr()
    assert "Dataframe field" not in printed.out + printed.err


def test_replace_takes_a_table_that_requires_columns_inside_one_that_a_run_lacks(out):
    inner = pa.field("x", pa.int64(), nullable=False)
    columns = [
        pa.field("ad_id", pa.string(), nullable=False),
        pa.field("at", pa.struct([inner])),
        pa.field("names", pa.map_(pa.string(), pa.string())),
    ]
    catalog().create_namespace("ads")
    catalog().create_table(ICEBERG_NAME, pa.schema(columns))
    assert publish(out, "r1", "10:00:00") == ""
    assert ids(iceberg_rows()) == expected_ids("r1")


def test_replace_refuses_a_table_whose_columns_are_twins_of_those_of_the_run(out):
    make_table(NestedField(1, "AD_ID", StringType(), required=False))
    error = publish(out, "r1", "10:00:00")
    assert error.startswith("columns 'AD_ID' and 'ad_id' differ only in case")
    assert catalog().load_table(ICEBERG_NAME).schema().column_names == ["AD_ID"]


def test_replace_of_a_list_by_a_struct_names_the_column(out):
    assert publish(out, "r1", "10:00:00", tags=pa.array([["a"], [], None])) == ""
    error = publish(out, "r2", "11:00:00", tags=pa.array([{"b": 1}, None, None]))
    assert error.endswith(". Drop column 'tags' from the table, or choose another table")


def test_replace_after_a_run_without_rows_warns_of_nothing(out):
    publish(out, "r1", "10:00:00")
    manifest = put_run(out, "r2", finished="11:00:00")
    empty = [file.model_copy(update={"rows": 0}) for file in manifest.files]
    publish_run(manifest.model_copy(update={"files": empty}), OPEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        follow_pointer(out, [ICEBERG])
        assert iceberg_rows().num_rows == 0
        roll_back(out, "no rows")
        follow_pointer(out, [ICEBERG])
    assert ids(iceberg_rows()) == expected_ids("r1")

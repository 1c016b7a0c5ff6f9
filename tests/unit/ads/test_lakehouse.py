"""Tables of Delta and Iceberg, made by their own libraries: what their log has removed is never
read."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.types import StringType

from rubert_ood.ads.sources import list_tables, survey_tables
from rubert_ood.errors import InputError, SettingsError

OLD = pa.table(
    {
        "ad_id": ["1", "2"],
        "description": ["старый", "старый"],
        "city": ["Нижний Новгород", "a b"],
    }
)
NEW = pa.table(
    {
        "ad_id": ["3", "4"],
        "description": ["новый", "новый"],
        "city": ["Нижний Новгород", "a b"],
    }
)


def ids(uri: Path | str) -> list[str]:
    found = [
        pq.ParquetFile(file.uri).read(["ad_id"])["ad_id"]
        for file in list_tables(str(uri))
    ]
    return sorted(value for column in found for value in column.to_pylist())


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    folder = tmp_path / "d t"
    write_deltalake(folder, OLD)
    write_deltalake(folder, NEW, mode="overwrite")
    return folder


@pytest.fixture
def iceberg(tmp_path: Path):
    catalog = InMemoryCatalog("test", warehouse=f"file://{tmp_path}/ware house")
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", schema=OLD.schema)
    table.append(OLD)
    table.overwrite(NEW)
    return table


def folder_of(table) -> Path:
    return Path(table.location().removeprefix("file://"))


def test_a_delta_table_is_read_by_its_log(delta: Path) -> None:
    assert len(list(delta.glob("*.parquet"))) == 2
    assert ids(delta) == ["3", "4"]
    assert ids(f"{delta.parent}/*") == ["3", "4"]
    assert survey_tables(str(delta)).ignored.num_files == 1
    assert survey_tables(str(delta)).ignored.num_like_data == 0


def test_a_partitioned_delta_table_is_found_whatever_its_folders_are_called(
    tmp_path: Path, caplog
) -> None:
    write_deltalake(tmp_path / "d", OLD, partition_by=["city"])
    write_deltalake(tmp_path / "d", NEW, partition_by=["city"], mode="overwrite")
    assert ids(tmp_path / "d") == ["3", "4"]
    assert (
        f"data      {tmp_path}/d: does not read the partition columns, which are"
        " not in the files: city"
    ) in caplog.messages


def test_a_delta_table_beside_plain_files_takes_nothing_from_them(delta: Path) -> None:
    pq.write_table(OLD.slice(0, 1), delta.parent / "plain.parquet")
    assert ids(delta.parent) == ["1", "3", "4"]


def test_a_delta_table_after_delete_and_vacuum_is_what_delta_says(delta: Path) -> None:
    DeltaTable(delta).delete("ad_id = '3'")
    assert ids(delta) == ["4"]
    DeltaTable(delta).vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False
    )
    DeltaTable(delta).create_checkpoint()
    assert ids(delta) == ["4"]


@pytest.mark.parametrize("pattern", ["*.parquet", "part-*"])
def test_files_of_a_delta_table_without_its_log_are_refused(
    delta: Path, pattern: str
) -> None:
    with pytest.raises(
        InputError,
        match=f"this is a part of the table {delta}. Use that folder",
    ):
        list_tables(f"{delta}/{pattern}")
    (file, *_) = delta.glob("*.parquet")
    with pytest.raises(InputError, match="this is a part of the table"):
        list_tables(str(file))


def test_a_delta_table_whose_file_is_gone_names_it(delta: Path) -> None:
    (uri,) = (file.uri for file in list_tables(str(delta)))
    Path(uri).unlink()
    with pytest.raises(
        InputError, match=f"^{delta}: the table's log names {uri}, which is missing"
    ):
        list_tables(str(delta))


def test_a_damaged_delta_log_is_one_line(delta: Path) -> None:
    next((delta / "_delta_log").glob("*1.json")).write_text("{")
    with pytest.raises(
        InputError, match=f"^{delta}: this Delta table cannot be read "
    ) as error:
        list_tables(str(delta))
    assert "\n" not in str(error.value)


def test_an_iceberg_table_is_read_by_its_log(iceberg) -> None:
    folder = folder_of(iceberg)
    assert len(list((folder / "data").glob("*.parquet"))) == 2
    assert ids(folder) == ["3", "4"]
    assert survey_tables(str(folder)).ignored.num_like_data == 0
    for name in ("data", "data/*.parquet"):
        with pytest.raises(InputError, match=f"this is a part of the table {folder}"):
            list_tables(f"{folder}/{name}")


def test_an_iceberg_table_with_a_renamed_column_is_refused(iceberg) -> None:
    with iceberg.update_schema() as change:
        change.rename_column("description", "text")
    with pytest.raises(
        InputError,
        match=r"a column of this Iceberg table was renamed \(description to text\)",
    ):
        list_tables(str(folder_of(iceberg)))


def test_an_iceberg_table_with_a_column_of_an_older_name_is_refused(iceberg) -> None:
    """The files that are there have texts under the name of the new column, which has none yet."""
    with iceberg.update_schema() as change:
        change.delete_column("description")
    with iceberg.update_schema() as change:
        change.add_column("description", StringType())
    assert iceberg.scan().to_arrow()["description"].to_pylist() == [None, None]
    with pytest.raises(
        InputError,
        match="column 'description' of this Iceberg table was dropped and added",
    ):
        list_tables(str(folder_of(iceberg)))


def test_a_hudi_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".hoodie").mkdir()
    (tmp_path / ".hoodie" / "hoodie.properties").write_text("x")
    pq.write_table(OLD, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=f"^{tmp_path}: Hudi tables are not supported"):
        list_tables(str(tmp_path))


def test_without_the_library_of_a_table_one_line_says_which(
    delta: Path, iceberg, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    monkeypatch.setitem(sys.modules, "pyiceberg.table", None)
    with pytest.raises(
        SettingsError, match=rf"^{delta}: .* pip install 'rubert_ood\[delta\]'$"
    ):
        list_tables(str(delta))
    with pytest.raises(SettingsError, match=r"pip install 'rubert_ood\[iceberg\]'$"):
        list_tables(str(folder_of(iceberg)))

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads import labelled_table as module
from rubert_ood.ads.labelled_table import ROLES, cut, read_labelled, whole_file
from rubert_ood.ads.labels import Rewriter
from rubert_ood.ads.sources import list_tables
from rubert_ood.errors import SchemaError
from rubert_ood.settings import ColumnSettings

COLUMNS = ColumnSettings()


def _put(path: Path, num_rows: int, **more: list) -> str:
    rows = range(num_rows)
    table = {
        "description": [f"вещь {row}" for row in rows],
        "category": [f"класс {row % 3}" for row in rows],
    }
    pq.write_table(pa.table(table | more), path, row_group_size=30)
    return str(path)


def _files(uri: str):
    return [whole_file(file, COLUMNS) for file in list_tables(uri)]


def test_shards_are_ranges_that_together_are_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_ROWS", (10, 25))
    _put(tmp_path / "a.parquet", 100)
    _put(tmp_path / "b.parquet", 7)
    shards = list(cut(_files(str(tmp_path))))
    assert [len(shard) for shard in shards] == [10] * 10 + [7]
    read = pa.concat_tables([shard.read(ROLES) for shard in shards])
    assert read == read_labelled(str(tmp_path), COLUMNS)
    assert read["city"].null_count == 107


@pytest.mark.parametrize(
    ("num_rows", "size"), [(500, 500), (5_000, 1_000), (640_000, 10_000), (10**7, 50_000)]
)
def test_shards_are_neither_small_nor_large(tmp_path, num_rows, size):
    file = _files(_put(tmp_path / "a.parquet", 1))[0]
    large = module.replace(file, stop=num_rows)
    shards = list(cut([large]))
    assert {len(shard) for shard in shards} == {size}
    assert sum(map(len, shards)) == num_rows


def test_csv_file_is_one_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_ROWS", (1, 2))
    lines = ["description,category", *(f"вещь {row},класс" for row in range(9))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    (shard,) = cut(_files(str(tmp_path)))
    assert len(shard) == shard.read(["description"]).num_rows == 9


def test_label_that_is_wrong_is_named_by_its_row_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_ROWS", (10, 10))
    categories = ["класс"] * 30
    categories[17] = "Other"
    uri = _put(tmp_path / "a.parquet", 30, category=categories)
    shard = list(cut(_files(uri)))[1]
    column = shard.read(["category"])["category"]
    with pytest.raises(
        SchemaError,
        match=r"a\.parquet: row 18 \(.*\): column 'category' holds the label 'Other'",
    ):
        shard.normal_labels(column, Rewriter(), ())
    with pytest.raises(SchemaError, match=r"a\.parquet: row 11 .* has no label 'класс'"):
        shard.normal_labels(column.slice(0, 5), Rewriter(), ("другой",))


@pytest.mark.parametrize(
    ("ids", "found"), [([7, 8], True), (["a", "b"], True), ([1.5, 2.5], False)]
)
def test_id_is_found_where_there_is_one_of_text_or_integers(tmp_path, ids, found):
    (file,) = _files(_put(tmp_path / "a.parquet", 2, ad_id=ids))
    assert ("ad_id" in file.columns) == found
    expected = [str(number) for number in ids] if found else [None, None]
    assert file.read(["ad_id"])["ad_id"].to_pylist() == expected

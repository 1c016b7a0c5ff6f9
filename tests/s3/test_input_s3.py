"""The input on a real S3 server: what is listed, what is read, and tables with a log."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pyiceberg.catalog.memory import InMemoryCatalog

from rubert_ood import storage
from rubert_ood.ads.lakehouse import s3_options
from rubert_ood.ads.sources import list_tables, survey_tables
from rubert_ood.ads.tables import inspect, read_rows
from rubert_ood.errors import InputChangedError, InputError
from rubert_ood.runs.part import to_parquet
from rubert_ood.storage.listing import list_below


def put(uri: str, *ids: str) -> str:
    """Put a table with these ids."""
    table = pa.table({"ad_id": [*ids], "description": ["диван"] * len(ids)})
    storage.put_bytes(uri, to_parquet(table))
    return uri


def ids(uri: str) -> list[str]:
    found = [
        read_rows(file.uri, ["ad_id"])["ad_id"].to_pylist() for file in list_tables(uri)
    ]
    return sorted(value for values in found for value in values)


def test_list_below_on_s3_matches_folders_and_takes_names_literally(s3):
    put(f"{s3}/globs/a.parquet", "1")
    put(f"{s3}/globs/day2/b.parquet", "2")
    put(f"{s3}/globs/_day=3/part_000", "3")
    put(f"{s3}/globs/ads[1].parquet", "4")
    put(f"{s3}/globs/ads1.parquet", "5")
    storage.put_bytes(f"{s3}/globs/_SUCCESS", b"")
    assert ids(f"{s3}/globs") == ["1", "2", "3", "4", "5"]
    assert ids(f"{s3}/globs/*") == ["1", "2", "3", "4", "5"]
    assert ids(f"{s3}/globs/d*/") == ["2"]
    assert ids(f"{s3}/globs/*day*") == ["2", "3"]
    assert ids(f"{s3}/globs/**/*.parquet") == ["1", "2", "4", "5"]
    assert ids(f"{s3}/globs/ads[1].parquet") == ["4"]
    assert ids(f"{s3}/globs/ads[[]1].parquet") == ["4"]
    for uri in (f"{s3}/globs/x*", f"{s3}/none", "s3://no-such-bucket-1/*"):
        with pytest.raises(InputError, match="no such file, folder or bucket"):
            list_below(uri)
    assert list_below(f"{s3}/none", missing_ok=True).files == []


def test_survey_tables_on_s3_counts_what_is_not_read(s3):
    put(f"{s3}/ignored/a.parquet", "1")
    storage.put_bytes(f"{s3}/ignored/b.jsonl", b"{}{}{}")
    storage.put_bytes(f"{s3}/ignored/c.md", b"text")
    found = survey_tables(f"{s3}/ignored").ignored
    assert (found.num_files, found.num_like_data) == (2, 1)
    assert found.names[0] == f"{s3}/ignored/b.jsonl"


def test_read_rows_on_s3_of_an_object_that_was_replaced_or_removed_says_so(s3):
    uri = put(f"{s3}/version/a.parquet", "1", "2")
    version = list_below(uri).files[0].version
    assert read_rows(uri, ["ad_id"], version=version)["ad_id"].to_pylist() == ["1", "2"]
    assert inspect(uri, version=version).row_groups == [2]
    put(uri, "3", "4")
    expected = f"{uri}: this file changed after the job planned"
    for read in (
        lambda: read_rows(uri, ["ad_id"], version=version),
        lambda: inspect(uri, version=version),
    ):
        with pytest.raises(InputChangedError, match=expected):
            read()
    put(
        uri, "1", "2"
    )  # the same bytes have the same ETag: it is the object that was planned
    read_rows(uri, ["ad_id"], version=version)
    fs, path = storage.filesystem(uri)
    fs.rm(path)
    with pytest.raises(InputChangedError, match=expected):
        read_rows(uri, ["ad_id"], version=version)


def test_read_rows_on_s3_of_an_object_that_is_replaced_while_it_is_read_says_so(
    s3, monkeypatch
):
    """Every read is conditional on the ETag of the plan: a file is never a mixture of two."""
    uri = f"{s3}/version/slow.parquet"
    tables = [pa.table({"ad_id": [f"{name}{n}" for n in range(50_000)]}) for name in "ab"]
    storage.put_bytes(uri, to_parquet(tables[0]))
    version = list_below(uri).files[0].version
    real = pq.ParquetFile.iter_batches

    def replaced_first(self, *arguments, **options):
        storage.put_bytes(uri, to_parquet(tables[1]))
        yield from real(self, *arguments, **options)

    fs, _ = storage.filesystem(uri)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", replaced_first)
    monkeypatch.setattr(fs, "default_block_size", 5 * 2**10)
    with pytest.raises(
        InputChangedError, match=f"{uri}: this file changed after the job planned"
    ):
        read_rows(uri, ["ad_id"], version=version)


def test_a_delta_table_on_s3_is_read_by_its_log(s3):
    old, new = (
        pa.table({"ad_id": [name], "description": ["стол"]}) for name in ("1", "2")
    )
    options = s3_options("aws_") | {"aws_s3_allow_unsafe_rename": "true"}
    write_deltalake(f"{s3}/delta t", old, storage_options=options)
    write_deltalake(f"{s3}/delta t", new, mode="overwrite", storage_options=options)
    assert (
        len([f for f in list_below(f"{s3}/delta t").files if f.uri.endswith(".parquet")])
        == 2
    )
    assert ids(f"{s3}/delta t") == ["2"]
    with pytest.raises(InputError, match="this is a part of the table"):
        list_tables(f"{s3}/delta t/*.parquet")


def test_an_iceberg_table_on_s3_is_read_by_its_log(s3):
    old, new = (
        pa.table({"ad_id": [name], "description": ["стол"]}) for name in ("1", "2")
    )
    catalog = InMemoryCatalog("test", warehouse=f"{s3}/warehouse", **s3_options("s3."))
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", schema=old.schema)
    table.append(old)
    table.overwrite(new)
    assert ids(table.location()) == ["2"]

import gzip
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.sources import Ignored, list_tables, survey_tables
from rubert_ood.errors import InputError


def put(path: Path, content: bytes = b"id\n1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_parquet(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": [1]}), path)
    return path


def names(found: list, folder: Path) -> list[str]:
    return [file.uri[len(str(folder)) + 1 :] for file in found]


def test_survey_tables_knows_parquet_by_its_first_bytes_where_the_name_does_not_say(
    tmp_path: Path,
) -> None:
    there = [
        "_day=1/p.parquet",
        "a.PARQUET",
        "b.pq",
        "c.parq",
        "d.snappy",
        "part_000",
        "x/000000_0",
    ]
    for name in there:
        put_parquet(tmp_path / name)
    put(tmp_path / "000001_0", b"text of hive")
    found = survey_tables(str(tmp_path))
    assert names(found.files, tmp_path) == sorted(there)
    assert found.ignored == Ignored(1, 1, [f"{tmp_path}/000001_0"])


def test_survey_tables_takes_csv_by_its_name_packed_or_not(tmp_path: Path) -> None:
    there = ["a.csv", "b.CSV", "c.csv.gz", "d.tsv", "e.csv.zst", "f.Csv.XZ"]
    for name in there:
        put(tmp_path / name)
    assert names(survey_tables(str(tmp_path)).files, tmp_path) == there


@pytest.mark.parametrize(
    "name",
    ["a.json", "a.jsonl", "b.orc", "c.avro", "d.xlsx", "e.csv.zip", "f.parquet.gz", "g"],
)
def test_survey_tables_counts_a_file_that_looks_like_data_as_such(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path / "a.csv")
    put(tmp_path / name, gzip.compress(b"x"))
    assert survey_tables(str(tmp_path)).ignored == Ignored(1, 1, [f"{tmp_path}/{name}"])


@pytest.mark.parametrize(
    "name",
    ["README", "README.md", "notes.txt", "schema.json", "_manifest", "run.log", "a.sql"],
)
def test_survey_tables_counts_a_file_that_stands_beside_data_apart(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path / "a.csv")
    put(tmp_path / name)
    put(tmp_path / "empty", b"")
    found = survey_tables(str(tmp_path)).ignored
    assert (found.num_files, found.num_like_data) == (2, 0)


def test_survey_tables_passes_over_what_writers_leave_behind(tmp_path: Path) -> None:
    put(tmp_path / "a.csv")
    for name in (
        "_SUCCESS",
        "_committed_1",
        "_started_1",
        "_metadata",
        "_common_metadata",
        "._a.csv",
    ):
        put(tmp_path / name)
    put_parquet(tmp_path / "_temporary" / "0" / "b.parquet")
    put_parquet(tmp_path / ".stage" / "b.parquet")
    put(tmp_path / "a.csv.crc")
    found = survey_tables(str(tmp_path))
    assert (names(found.files, tmp_path), found.ignored) == (["a.csv"], Ignored())


def test_survey_tables_takes_a_file_that_was_named_whatever_its_name(
    tmp_path: Path,
) -> None:
    path = put_parquet(tmp_path / "_metadata")
    assert [file.uri for file in survey_tables(str(path)).files] == [str(path)]


def test_survey_tables_names_a_dangling_table_and_counts_another_link(
    tmp_path: Path,
) -> None:
    put(tmp_path / "a.csv")
    for name in ("b.parquet", "c.csv.gz", "notes", ".d.csv"):
        (tmp_path / name).symlink_to(tmp_path / "gone")
    found = survey_tables(str(tmp_path))
    assert set(found.unreadable) == {f"{tmp_path}/b.parquet", f"{tmp_path}/c.csv.gz"}
    assert found.ignored == Ignored(1, 1, [f"{tmp_path}/notes"])
    with pytest.raises(
        InputError, match=rf"^{tmp_path}/b\.parquet: this link leads nowhere"
    ):
        list_tables(str(tmp_path))


def test_survey_tables_names_the_first_few_that_look_like_data_first(
    tmp_path: Path,
) -> None:
    put(tmp_path / "a.csv")
    for number in range(9):
        put(tmp_path / f"x{number}.orc")
    put(tmp_path / "README.md")
    found = survey_tables(str(tmp_path)).ignored
    assert (found.num_files, found.num_like_data) == (10, 9)
    assert found.names == [f"{tmp_path}/x{number}.orc" for number in range(5)]


def test_list_tables_warns_of_the_files_that_are_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "a.csv")
    put(tmp_path / "b.json")
    put(tmp_path / "c.md")
    with caplog.at_level(logging.WARNING):
        list_tables(str(tmp_path))
    assert caplog.messages == [
        (
            "data      does not read 2 files (1 like data):"
            f" {tmp_path}/b.json, {tmp_path}/c.md"
        )
    ]


def test_list_tables_of_a_place_without_tables_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f"^{tmp_path}: no Parquet or CSV file is here. Check the path"
    ):
        list_tables(str(tmp_path))
    put(tmp_path / "a.json")
    with pytest.raises(
        InputError,
        match=(
            rf"^{tmp_path}: no .* is here \(but other files, such as {tmp_path}/a.json\)"
            r"\. Convert them to Parquet or CSV, or check the path$"
        ),
    ):
        list_tables(str(tmp_path))
    with pytest.raises(InputError, match="no such file, folder or bucket"):
        list_tables(str(tmp_path / "absent"))


def test_a_loop_of_links_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "a.csv")
    (tmp_path / "up").symlink_to(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert names(list_tables(str(tmp_path)), tmp_path) == ["a.csv"]
    assert caplog.messages == [
        (
            f"data      {tmp_path}/up: links to a folder above itself, which is read"
            " only once"
        )
    ]

import logging
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.sources import survey_tables
from rubert_ood.errors import SchemaError
from rubert_ood.scoring.carry import CarriedTypes
from rubert_ood.scoring.inspection import GoodFile, Inspected, cut_files, inspect_files
from rubert_ood.settings import ScoreSettings
from rubert_ood.storage.listing import FileInfo

ADS = pa.table(
    {"ad_id": ["1", "2"], "description": ["диван", "стол"], "city": ["Уфа"] * 2}
)


def _good(name: str, groups: list[int], delimiter: str = "") -> GoodFile:
    file = FileInfo(name, 1, f"v-{name}")
    return GoodFile(file, groups, delimiter, {"ad_id": "id"})


def _inspect(
    folder, *, carry: tuple[str, ...] = (), cities: bool = False, **more
) -> Inspected:
    settings = ScoreSettings(
        input_uri=str(folder),
        bundle_uri="-",
        output_uri="-",
        run_date=date(2026, 11, 24),
        carry_columns=carry,
        **more,
    )
    found = survey_tables(str(folder))
    return inspect_files(found, settings, CarriedTypes(carry), count_cities=cities)


@pytest.mark.parametrize(
    ("groups", "shard_rows", "expected"),
    [
        ([10, 10, 10], 20, [(0, 20), (20, 30)]),
        ([10, 10, 10], 100, [(0, 30)]),
        (
            [15, 15, 15],
            20,
            [(0, 15), (15, 30), (30, 45)],
        ),  # whole row groups, though two shards would be enough
        ([100], 30, [(0, 30), (30, 60), (60, 100)]),  # one large row group is cut inside
        ([5, 100, 5], 50, [(0, 5), (5, 55), (55, 105), (105, 110)]),
        ([0, 7, 0], 5, [(0, 7)]),
    ],
)
def test_cut_files_gives_the_shards_cut_by_hand(groups, shard_rows, expected):
    shards = cut_files([_good("a", groups)], shard_rows)
    assert [(shard.start, shard.stop) for shard in shards] == expected


def test_cut_files_numbers_the_shards_through_and_keeps_what_is_known_of_the_file():
    shards = cut_files([_good("a", [3, 3], ";"), _good("b", []), _good("c", [2])], 3)
    assert [shard.shard_id[:6] for shard in shards] == ["00000-", "00001-", "00002-"]
    assert [(shard.uri, shard.version, shard.delimiter) for shard in shards] == [
        ("a", "v-a", ";"),
        ("a", "v-a", ";"),
        ("c", "v-c", ""),
    ]
    assert len({shard.shard_id[6:] for shard in shards}) == 3
    assert shards == cut_files([_good("a", [3, 3], ";"), _good("c", [2])], 3)


def test_inspect_files_maps_the_columns_and_the_city_only_where_it_is_counted(tmp_path):
    pq.write_table(ADS, tmp_path / "a.parquet")
    (plain,) = _inspect(tmp_path).good
    assert plain.columns == {"ad_id": "ad_id", "description": "description"}
    assert plain.row_groups == [2]
    (counted,) = _inspect(tmp_path, cities=True).good
    assert counted.columns == plain.columns | {"city": "city"}


def test_inspect_files_lists_the_files_without_a_row(tmp_path):
    pq.write_table(ADS, tmp_path / "a.parquet")
    pq.write_table(ADS[:0], tmp_path / "b.parquet")
    assert _inspect(tmp_path).empty_files == [f"{tmp_path}/b.parquet"]


def test_inspect_files_ends_at_a_bad_file_or_quarantines_it_with_its_size(tmp_path):
    pq.write_table(ADS, tmp_path / "a.parquet")
    bad = tmp_path / "b.parquet"
    pq.write_table(ADS.drop_columns(["description"]), bad)
    with pytest.raises(
        SchemaError,
        match=(r"b\.parquet: the table has no column 'description'"),
    ):
        _inspect(tmp_path)
    found = _inspect(tmp_path, on_bad_file="quarantine")
    assert [table.file.uri for table in found.good] == [f"{tmp_path}/a.parquet"]
    (quarantined,) = found.quarantined
    assert (quarantined.uri, quarantined.size) == (str(bad), bad.stat().st_size)
    assert "no column 'description'" in quarantined.reason


def test_inspect_files_quarantines_a_carried_column_of_a_type_that_does_not_fit(tmp_path):
    for name, price in (("a", pa.array([1, 2])), ("b", pa.array([[1], [2]]))):
        pq.write_table(ADS.append_column("price", price), tmp_path / f"{name}.parquet")
    found = _inspect(tmp_path, carry=("price",), on_bad_file="quarantine")
    assert [file.uri for file in found.quarantined] == [f"{tmp_path}/b.parquet"]


def test_inspect_files_names_a_delimiter_other_than_the_comma(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "a.csv").write_text("ad_id;description\n1;диван\n")
    (tmp_path / "b.csv").write_text("ad_id,description\n1,диван\n")
    _inspect(tmp_path)
    lines = [line for line in caplog.messages if "delimiter" in line]
    assert lines == ["plan      reads 1 CSV file with the delimiter ';'"]

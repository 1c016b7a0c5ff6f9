import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.labelled_table import LabelledShard, whole_file
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.splits import share_of
from rubert_ood.ads.survey import NO_CITY, Survey, survey_shard
from rubert_ood.errors import SchemaError
from rubert_ood.settings import ColumnSettings


@pytest.fixture
def shard(tmp_path) -> LabelledShard:
    table = {
        "ad_id": [11, 12, None, 14],
        "title": ["а", None, "в", "г"],
        "description": ["1", "2", "3", "4"],
        "category": ["Шины", " Мебель", "Шины", "Мебель"],
        "city": ["Уфа", None, "Орск", "Уфа"],
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    (file,) = list_tables(str(tmp_path))
    return whole_file(file, ColumnSettings())


def test_survey_knows_class_and_city_of_each_row(shard):
    found = survey_shard(shard, Survey())
    assert [found.labels[code] for code in found.codes_n] == ["Шины", "Мебель"] * 2
    cities = [found.cities[code] for code in found.city_codes_n if code != NO_CITY]
    assert cities == ["Уфа", "Орск", "Уфа"]
    assert found.city_codes_n[1] == NO_CITY
    assert len(found) == 4
    assert len(found.shares_n) == 0


def test_survey_hashes_the_id_and_of_an_ad_without_one_the_text(shard):
    found = survey_shard(shard, Survey(cities=False, hash_seed=5))
    expected = [share_of(name, 5) for name in ("11", "12", "в 3", "14")]
    assert found.shares_n.tolist() == expected
    columns = {role: name for role, name in shard.columns.items() if role != "ad_id"}
    without = LabelledShard(shard.uri, shard.version, "", columns, 0, 4)
    texts = ["а 1", " 2", "в 3", "г 4"]
    found = survey_shard(without, Survey(hash_seed=5))
    assert found.cities == ["Уфа", "Орск"]
    np.testing.assert_array_equal(found.shares_n, [share_of(text, 5) for text in texts])


def test_survey_of_a_label_that_is_not_known_names_the_row(shard):
    with pytest.raises(SchemaError, match=r"row 2 .* has no label 'Мебель'"):
        survey_shard(shard, Survey(known=("Шины",)))

"""The ads of an audit beside the table that they come from."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.auditing.material import read_ads
from rubert_ood.errors import SchemaError
from rubert_ood.settings import ColumnSettings

ADS = {
    "number": [7, 8, 9],
    "title": ["Диван", "+7 900 123-45-67", "Шины"],
    "description": ["мягкий", "", "зимние"],
    "category": ["Мебель", "Мебель", "Шины и диски"],
}


@pytest.fixture
def uri(tmp_path) -> str:
    pq.write_table(pa.table(ADS), tmp_path / "ads.parquet")
    return str(tmp_path / "ads.parquet")


def test_ads_have_the_ids_of_the_column_that_is_named_and_those_without_text_are_counted(
    uri,
):
    ads = read_ads(uri, ColumnSettings(ad_id="number"))
    assert (ads.ad_ids, ads.rows, ads.num_unreadable) == (["7", "9"], [1, 3], 1)
    assert [ads.labels[label] for label in ads.labels_N] == ["Мебель", "Шины и диски"]


def test_ads_without_a_column_of_ids_are_read_unless_it_is_named(uri):
    assert read_ads(uri, ColumnSettings()).ad_ids == ["", ""]
    with pytest.raises(SchemaError, match=r"no column 'nummer' \(setting columns.ad_id"):
        read_ads(uri, ColumnSettings(ad_id="nummer"))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood.ads.cleaning import (
    CleanTask,
    clean_labelled,
    clean_shard,
    clean_table,
)
from rubert_ood.ads.labelled_table import whole_file
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.text import TextCleaner
from rubert_ood.settings import ColumnSettings

ROWS = {
    "title": ["Диван", None, "Кот", " ", "Стол"],
    "description": ["БУ", "торг", "рыжий", "шины", "дубовый"],
    "category": ["м", "м", "ж", "а", "м"],
    "city": ["Уфа", None, "Орск", None, "Уфа"],
}


def test_clean_table_leaves_out_rows_without_text():
    kept, block = clean_table(pa.table(ROWS), TextCleaner(), np.zeros(5, bool))
    assert kept.tolist() == [0, 2, 3, 4]
    assert block["text"].to_pylist() == ["диван бу", "кот рыжий", "шины", "стол дубовый"]
    assert block["city"].null_count == block["length"].null_count == 4


def test_clean_labelled_counts_the_ads_without_text(caplog):
    ads = clean_labelled(pa.table(ROWS), TextCleaner(), ["а", "ж", "м"])
    assert ads.labels_N.tolist() == [2, 1, 0, 2]
    assert caplog.messages == [
        "data      leaves out 1 labelled ad: no readable text is left after cleaning"
    ]


def test_clean_shard_puts_each_row_into_its_split(tmp_path):
    pq.write_table(pa.table(ROWS), tmp_path / "a.parquet")
    (file,) = list_tables(str(tmp_path))
    task = CleanTask(
        whole_file(file, ColumnSettings()),
        splits_n=np.array([0, 0, 2, 1, 0], np.int8),
        rows_n=np.array([8, 6, 20, 15, 3], np.int32),
        labels_n=np.array([1, 1, 0, 2, 1], np.int32),
    )
    train, valid, test, calibration = clean_shard(task, TextCleaner(cities=["Дубовый"]))
    assert train.to_pydict()["row"] == [8, 3]
    assert train.to_pydict()["label"] == [1, 1]
    assert train["text"].to_pylist() == ["диван бу", "стол"]
    assert "city" not in train.schema.names
    assert valid["text"].to_pylist() == ["шины"]
    assert test.drop_columns("key").to_pylist() == [
        {
            "row": 20,
            "label": 0,
            "text": "кот рыжий",
            "length": "up to 5 words",
            "title": "with a title",
            "capitals": "ordinary letters",
            "city": "Орск",
        }
    ]
    assert calibration.num_rows == 0

"""The texts of a comparison, and the sample of a catalogue."""

import pyarrow as pa
import pytest

from rubert_ood.ads.text import TextCleaner
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.promotion.material import read_material, read_sample
from rubert_ood.settings import ColumnSettings, PromoteSettings
from tests.conftest import write_parquet

PLAIN = ColumnSettings()


def catalogue(folder, sizes) -> list[str]:
    """Write files whose ads are numbered through; return all their texts."""
    texts, start = [], 0
    for number, size in enumerate(sizes):
        names = [f"объявление {start + row}" for row in range(size)]
        table = pa.table({"description": pa.array(names, pa.string())})
        write_parquet(folder / f"{number}.parquet", table, row_group_size=7)
        texts += names
        start += size
    return [f" {text}" for text in texts]


@pytest.mark.parametrize(
    ("sizes", "num_ads"), [([40, 0, 300, 1, 159], 120), ([1000], 500), ([30, 90], 60)]
)
def test_read_sample_takes_ads_from_all_over_in_order_and_each_once(
    tmp_path, sizes, num_ads
):
    texts = catalogue(tmp_path, sizes)
    found = read_sample(str(tmp_path), PLAIN, num_ads)
    assert num_ads - 50 <= len(found) <= num_ads + 50
    places = [texts.index(f" {text.strip()}") for text in found]
    assert places == sorted(set(places))
    third = len(texts) / 3
    for part in range(3):
        assert sum(part * third <= place < (part + 1) * third for place in places) > 5
    assert read_sample(str(tmp_path), PLAIN, num_ads) == found


def test_read_sample_of_fewer_ads_than_are_asked_for_takes_all(tmp_path):
    texts = catalogue(tmp_path, [5, 8])
    found = read_sample(str(tmp_path), PLAIN, 100)
    assert [text.strip() for text in found] == [text.strip() for text in texts]


def test_read_sample_of_a_catalogue_without_rows_or_column_says_so(tmp_path):
    catalogue(tmp_path / "empty", [0])
    with pytest.raises(InputError, match="the catalogue has no rows"):
        read_sample(str(tmp_path / "empty"), PLAIN, 10)
    write_parquet(tmp_path / "other" / "a.parquet", pa.table({"text": ["x"]}))
    with pytest.raises(SchemaError, match="no column 'description'"):
        read_sample(str(tmp_path / "other"), PLAIN, 10)


def test_read_material_joins_title_and_description_and_keeps_kinds_apart(tmp_path):
    raw = pa.array([b"\xff", b"ok"], pa.binary())
    damaged = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    table = pa.table(
        {
            "title": ["Диван", None, "Стол", "Шкаф"],
            "description": pa.chunked_array([pa.array(["серый", "кот"]), damaged]),
            "category": ["Мебель", "Кошки", "Мебель", "Мебель"],
        }
    )
    ood = {"text": ["qqq", "Москва", "раз", "два"], "kind": ["шум", "шум", "счёт", "шум"]}
    settings = PromoteSettings(
        bundle_uri="b",
        test_uri=write_parquet(tmp_path / "test.parquet", table),
        evaluation={"ood_uri": write_parquet(tmp_path / "ood.parquet", pa.table(ood))},
    )
    known = ["Мебель", "Кошки"]
    found = read_material(settings, known, TextCleaner(cities={"Москва"}))
    assert [text.split() for text in found.texts] == [
        ["Диван", "серый"],
        ["кот"],
        ["Шкаф", "ok"],
    ]
    assert found.labels == ["Мебель", "Кошки", "Мебель"]
    assert found.ood == {"шум": ["qqq", "два"], "счёт": ["раз"]}
    assert found.sample == []
    assert found.num_not_utf8 == 1

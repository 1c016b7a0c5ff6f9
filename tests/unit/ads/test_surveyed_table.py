"""Tables in shards against the same rows read at once."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads import labelled_table
from rubert_ood.ads.dataset import LocalWorkers, load_dataset, read_labelled
from rubert_ood.ads.splits import share_of
from rubert_ood.ads.surveyed_table import survey_tables
from rubert_ood.settings import (
    CleanerSettings,
    ColumnSettings,
    SplitSettings,
    TrainSettings,
)
from rubert_ood.synthetic.catalogue import generate_ads


@pytest.fixture
def settings(tmp_path) -> TrainSettings:
    ads = pa.Table.from_batches(list(generate_ads(600, seed=3, balanced=True)))
    for name, rows in (("a", (0, 100)), ("b", (100, 370)), ("c", (470, 130))):
        pq.write_table(ads.slice(*rows), tmp_path / f"{name}.parquet")
    split = SplitSettings(valid_fraction=0.2)
    return TrainSettings(input_uri=str(tmp_path), split=split)


@pytest.fixture
def in_shards(monkeypatch) -> None:
    monkeypatch.setattr(labelled_table, "SHARD_ROWS", (10, 40))


@pytest.mark.usefixtures("in_shards")
def test_survey_tables_numbers_the_class_of_each_row(settings):
    table = survey_tables(settings, LocalWorkers())
    whole = read_labelled(settings.input_uri, ColumnSettings())
    assert len(table.shards) > 12
    labels = table.labels()
    assert labels == sorted(set(whole["category"].to_pylist()))
    found = [labels[code] for code in table.codes(labels)]
    assert found == whole["category"].to_pylist()
    assert [there.stop for there in table.slices()][-1] == 600
    chosen = np.arange(600) % 3 == 0
    cities = whole["city"].filter(pa.array(chosen)).to_pylist()
    assert table.cities(chosen) == {city for city in cities if city}
    assert table.has_ids


def _content(settings):
    dataset = load_dataset(settings)
    splits = [dataset.train, dataset.valid, dataset.test]
    return [
        (ads.texts, ads.labels_N.tolist(), ads.traits) for ads in splits
    ], dataset.cleaner.cities


def test_load_dataset_in_shards_is_that_of_whole_files(settings, monkeypatch):
    whole = _content(settings)
    monkeypatch.setattr(labelled_table, "SHARD_ROWS", (10, 40))
    assert _content(settings) == whole


@pytest.mark.usefixtures("in_shards")
def test_cities_are_not_asked_for_where_they_stay(settings):
    plain = settings.model_copy(update={"cleaner": CleanerSettings(remove_cities=False)})
    table = survey_tables(plain, LocalWorkers())
    assert {len(part.city_codes_n) for part in table.surveyed} == {0}
    assert table.cities(np.ones(600, bool)) == set()


@pytest.mark.usefixtures("in_shards")
def test_load_dataset_of_many_rows_splits_by_the_hash_and_says_so(settings, caplog):
    caplog.set_level("INFO")
    given = settings.split.model_copy(update={"max_stratified_rows": 599})
    dataset = load_dataset(settings.model_copy(update={"split": given}))
    sizes = [len(dataset.train), len(dataset.valid), len(dataset.test)]
    assert sum(sizes) == 600
    np.testing.assert_allclose(sizes, [384, 96, 120], atol=45)
    line = (
        "data      splits 600 ads by the hash of each id, seed 42 (more ads than"
        " split.max_stratified_rows)"
    )
    assert line in [record.getMessage() for record in caplog.records]


@pytest.mark.usefixtures("in_shards")
def test_cities_of_a_table_that_is_split_by_the_hash_are_those_of_its_train_ads(settings):
    given = settings.split.model_copy(update={"max_stratified_rows": 599})
    dataset = load_dataset(settings.model_copy(update={"split": given}))
    ads = pq.read_table(settings.input_uri).to_pylist()
    train = [ad for ad in ads if share_of(ad["ad_id"], given.seed) < 0.8 * 0.8]
    cities = {ad["city"].lower() for ad in train if ad["city"]}
    assert dataset.cleaner.cities == sorted(cities)


def test_load_dataset_of_few_rows_says_that_it_is_stratified(settings, caplog):
    caplog.set_level("INFO")
    load_dataset(settings)
    lines = [record.getMessage() for record in caplog.records]
    assert "data      splits each class in the same shares, seed 42" in lines

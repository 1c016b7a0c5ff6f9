"""Ads in the object store against the same ads in this process."""

import itertools

import numpy as np
import pytest

from rubert_ood.ads import labelled_table
from rubert_ood.ads.dataset import Dataset, LabelledAds, load_dataset
from rubert_ood.training.cluster_ads import ClusterAds, blocks_of, rows_of
from rubert_ood.training.ray_workers import RayWorkers

pytestmark = pytest.mark.usefixtures("ray_local")
SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def here(train_settings) -> Dataset:
    return load_dataset(train_settings)


@pytest.fixture(scope="module")
def there(train_settings) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelled_table, "SHARD_ROWS", (100, 300))
        return load_dataset(train_settings, RayWorkers())


def test_cluster_has_the_same_splits_and_the_driver_no_text(here, there):
    assert there.labels == here.labels
    assert there.cleaner.to_dict() == here.cleaner.to_dict()
    for name in SPLITS:
        ours, theirs = getattr(there, name), getattr(here, name)
        assert isinstance(ours, ClusterAds)
        assert len(ours.blocks) > 3
        assert {*vars(ours)} == {"blocks", "rows_N", "labels_N"}
        np.testing.assert_array_equal(ours.labels_N, theirs.labels_N)
        assert ours.here().texts == theirs.texts
    assert there.calibration is None


def test_cluster_answers_what_is_asked_of_texts(here, there):
    assert there.num_test_texts_seen_in_train() == here.num_test_texts_seen_in_train()
    assert there.train.num_with_two_texts() == here.train.num_with_two_texts() == 10
    assert there.test.traits == here.test.traits
    assert list(there.test.traits) == ["length", "title", "capitals", "city"]
    np.testing.assert_array_equal(there.test.keys(), here.test.keys())
    texts = there.test.texts
    assert len(texts) == len(here.test)
    assert [texts[row] for row in (0, 17, 150, -1)] == [
        here.test.texts[row] for row in (0, 17, 150, -1)
    ]
    assert texts[5:9] == here.test.texts[5:9]


def test_digest_of_the_cluster_is_the_same_in_other_shards(train_settings, there):
    again = load_dataset(train_settings, RayWorkers())  # in shards of 1,000
    assert again.train.digest() == there.train.digest() != there.valid.digest()
    assert len(again.train.blocks) == 2


def test_cluster_takes_a_sample_that_is_as_good_as_the_whole(here, there):
    rows = np.sort(np.random.default_rng(0).choice(len(here.test), 50, replace=False))
    ours, theirs = there.test.take(rows), here.test.take(rows)
    assert (len(ours), ours.here().texts) == (50, theirs.texts)
    assert ours.texts[49] == theirs.texts[49]
    np.testing.assert_array_equal(ours.labels_N, theirs.labels_N)
    assert ours.traits["length"] == theirs.traits["length"]
    assert there.test.take(np.arange(len(there.test))) is there.test


def test_rows_of_a_training_have_one_number_each(there, here):
    rows = [rows_of(getattr(there, name)) for name in SPLITS]
    for earlier, later in itertools.pairwise(rows):
        assert earlier[-1] < later[0]
    few = LabelledAds(["а"] * 700, np.zeros(700, np.int64))
    assert rows_of(few, 9).tolist() == list(range(9, 709))
    assert len(blocks_of(few, 9)) == 2

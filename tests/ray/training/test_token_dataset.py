import numpy as np
import pytest
from transformers import AutoTokenizer

from rubert_ood.ads.dataset import LabelledAds, load_dataset
from rubert_ood.training.ray_workers import RayWorkers
from rubert_ood.training.token_dataset import token_dataset

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.mark.parametrize("on_cluster", [False, True])
def test_token_dataset_has_the_ids_of_each_row(train_settings, tiny_bert, on_cluster):
    ads = load_dataset(train_settings, RayWorkers() if on_cluster else None).valid
    dataset = token_dataset(ads, tiny_bert, 24)
    rows = sorted(dataset.take_all(), key=lambda row: row["row"])
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    expected = tokenizer(ads.here().texts, truncation=True, max_length=24)["input_ids"]
    assert [list(row["ids"]) for row in rows] == expected
    assert [row["label"] for row in rows] == ads.labels_N.tolist()


def test_token_dataset_of_few_ads_has_one_block(tiny_bert):
    ads = LabelledAds(["диван"], np.array([3]))
    assert token_dataset(ads, tiny_bert, 24).count() == 1

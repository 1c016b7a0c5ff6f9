import numpy as np

from rubert_ood.ads.ad_block import ad_block
from rubert_ood.ads.labelled_ads import LabelledAds

ADS = LabelledAds(
    ["кот", "диван", "кот", "стол"],
    np.array([0, 1, 0, 1]),
    {"title": ["with a title", "x", "y", "z"]},
)


def test_labelled_ads_of_blocks_are_in_the_order_of_their_rows():
    blocks = [
        ad_block(np.array([9, 2]), np.array([1, 0]), ["стол", "кот"]),
        ad_block(np.array([5]), np.array([1]), ["диван"]),
    ]
    ads = LabelledAds.of(blocks)
    assert (ads.texts, ads.labels_N.tolist()) == (["кот", "диван", "стол"], [0, 1, 1])
    assert ads.traits == {}
    assert LabelledAds.of([ads.block(start=7)]).texts == ads.texts
    assert ads.block(start=7)["row"].to_pylist() == [7, 8, 9]


def test_labelled_ads_take_rows_with_their_traits():
    taken = ADS.take(np.array([1, 3]))
    assert (taken.texts, taken.labels_N.tolist()) == (["диван", "стол"], [1, 1])
    assert taken.traits == {"title": ["x", "z"]}
    assert ADS.here() is ADS


def test_labelled_ads_know_their_texts_by_key():
    keys = ADS.keys()
    assert keys.dtype == np.uint64
    assert (len(keys), len(set(keys.tolist()))) == (4, 3)
    assert ADS.seen(LabelledAds(["кот", "лес"], np.zeros(2)).keys()).tolist() == [keys[0]]
    assert ADS.num_with_two_texts() == 1  # class 1; the texts of class 0 are the same
    other = LabelledAds(["кот", "диван", "стол", "кот"], ADS.labels_N)
    assert other.digest() != ADS.digest()

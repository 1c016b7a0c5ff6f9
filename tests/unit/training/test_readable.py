"""What `predict` calls empty is left out of labelled ads."""

import numpy as np

from rubert_ood.ads.labelled_ads import LabelledAds
from rubert_ood.training import readable
from rubert_ood.training.readable import readable_ads
from rubert_ood.workflows.predict import predict_texts

TEXTS = ["диван угловой", "\u200b", "стол", "漢字", "\ufffd", "шкаф белый"]


def _ads(texts: list[str]) -> LabelledAds:
    traits = {"city": [f"c{number}" for number in range(len(texts))]}
    return LabelledAds(texts, np.arange(len(texts)), traits)


def test_readable_ads_are_those_that_predict_scores(bundle, monkeypatch, caplog):
    monkeypatch.setattr(readable, "ADS_AT_ONCE", 2)
    kept = readable_ads(_ads(TEXTS), bundle)
    results = predict_texts(bundle, TEXTS)
    expected = [n for n, result in enumerate(results) if result["status"] == "ok"]
    assert 0 < len(expected) < len(TEXTS)
    assert kept.labels_N.tolist() == expected
    assert kept.texts == [TEXTS[n] for n in expected]
    assert kept.traits == {"city": [f"c{n}" for n in expected]}
    assert caplog.messages == [
        f"data      leaves out {len(TEXTS) - len(expected)} labelled ads:"
        " the model knows no character of them"
    ]


def test_readable_ads_of_which_all_are_stay_as_they_are(bundle, caplog):
    ads = _ads(["диван", "стол"])
    assert readable_ads(ads, bundle) is ads
    assert readable_ads(_ads([]), bundle).texts == []
    assert caplog.messages == []

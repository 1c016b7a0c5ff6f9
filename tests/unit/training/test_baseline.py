import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from rubert_ood.ads.dataset import Dataset, LabelledAds, LocalWorkers
from rubert_ood.ads.text import TextCleaner
from rubert_ood.ood.outputs import sample_rows
from rubert_ood.training import baseline
from rubert_ood.training.baseline import Baseline, baseline_metrics, baseline_of

TRAIN = LabelledAds(
    [
        "новый диван",
        "старый диван",
        "новый диван серый",
        "котёнок рыжий",
        "котёнок ищет дом",
        "рыжий котёнок мальчик",
    ],
    np.array([0, 0, 0, 1, 1, 1]),
)


def test_baseline_metrics_of_one_error_by_hand():
    test = LabelledAds(
        ["диван новый", "диван", "котёнок", "котёнок рыжий"], np.array([0, 0, 1, 0])
    )
    # predicted 0 0 1 1: class 0 has precision 1, recall 2/3, F1 0.8; class 1 has precision 1/2,
    # recall 1, F1 2/3
    got = baseline_metrics(TRAIN, test)
    assert got == Baseline(0.75, pytest.approx((0.8 + 2 / 3) / 2))


def test_baseline_equals_the_two_feature_sets_put_side_by_side_by_hand(ads, ad_texts):
    names = sorted(set(ads["category"].to_pylist()))
    labels_N = np.array([names.index(name) // 10 for name in ads["category"].to_pylist()])
    train, test = (
        LabelledAds(ad_texts[:300], labels_N[:300]),
        LabelledAds(ad_texts[300:], labels_N[300:]),
    )

    train_parts, test_parts = [], []
    for options in (
        {"ngram_range": (1, 2)},
        {"analyzer": "char_wb", "ngram_range": (3, 5)},
    ):
        vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, **options)
        train_parts.append(vectorizer.fit_transform(train.texts).toarray())
        test_parts.append(vectorizer.transform(test.texts).toarray())
    model = LinearSVC(random_state=0).fit(np.hstack(train_parts), train.labels_N)
    predicted_N = model.predict(np.hstack(test_parts))
    f1 = []
    for label in range(5):
        hits = ((predicted_N == label) & (test.labels_N == label)).sum()
        f1.append(
            2 * hits / ((predicted_N == label).sum() + (test.labels_N == label).sum())
        )

    got = baseline_metrics(train, test)
    assert got.accuracy == pytest.approx((predicted_N == test.labels_N).mean(), abs=0.011)
    assert got.macro_f1 == pytest.approx(np.mean(f1), abs=0.02)
    assert got == baseline_metrics(train, test)
    assert got.accuracy > 0.5


@pytest.mark.parametrize("texts", [["диван", "кот"], ["а", "б"]])
def test_baseline_of_ads_without_a_word_in_common_is_none(texts):
    """A first try with a handful of ads trains, instead of ending in a stack trace."""
    train = LabelledAds(texts, np.array([0, 1]))
    assert baseline_metrics(train, TRAIN) is None
    dataset = Dataset(["а", "б"], TextCleaner(), train, TRAIN, TRAIN)
    assert baseline_of(dataset, LocalWorkers()) is None


def test_baseline_of_a_large_train_split_is_that_of_a_sample_and_says_so(monkeypatch):
    test = LabelledAds(["диван новый", "котёнок"], np.array([0, 1]))
    dataset = Dataset(["а", "б"], TextCleaner(), TRAIN, test, test)
    whole = baseline_of(dataset, LocalWorkers())
    assert whole == baseline_metrics(TRAIN, test)
    assert whole.num_train is None
    monkeypatch.setattr(baseline, "MAX_TRAIN_ADS", 5)
    sample = baseline_of(dataset, LocalWorkers())
    rows = sample_rows(6, 5)
    assert sample.num_train == 5
    expected = baseline_metrics(TRAIN.take(rows), test)
    assert (sample.accuracy, sample.macro_f1) == (expected.accuracy, expected.macro_f1)

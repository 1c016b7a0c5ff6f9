"""Words learned from train: of few classes, of classes without an ad, of a sample."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from rubert_ood.ads.dataset import LabelledAds, LocalWorkers
from rubert_ood.errors import SchemaError
from rubert_ood.ood.outputs import sample_rows
from rubert_ood.training import words as module
from rubert_ood.training.words import fit_words, learn_words, margins_of

TEXTS = [
    "новый диван угловой",
    "старый диван угловой",
    "рыжий котёнок ищет дом",
    "рыжий котёнок мальчик ищет",
]
LABELS_N = np.array([0, 0, 1, 1])


def decision_function(labels_N: np.ndarray, texts: list[str]) -> np.ndarray:
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    svm = LinearSVC(random_state=0).fit(tfidf.fit_transform(TEXTS), labels_N)
    return svm.decision_function(tfidf.transform(texts))


def test_fit_words_of_two_classes_has_a_margin_for_each():
    words = fit_words(LabelledAds(TEXTS, LABELS_N), 2)
    expected_N = decision_function(LABELS_N, [*TEXTS, "котёнок"])
    got_N2 = words.margins([*TEXTS, "котёнок"])
    np.testing.assert_allclose(got_N2[:, 1], expected_N, atol=1e-6)
    np.testing.assert_allclose(got_N2[:, 0], -expected_N, atol=1e-6)
    assert words.margins(TEXTS).argmax(1).tolist() == [0, 0, 1, 1]


def test_fit_words_of_a_class_without_an_ad_never_chooses_it():
    words = fit_words(LabelledAds(TEXTS, np.array([3, 3, 1, 1])), 5)
    got_NC = words.margins([*TEXTS, "слова которых нет"])
    assert set(got_NC.argmax(1).tolist()) == {1, 3}
    np.testing.assert_array_equal(got_NC[:, [0, 2, 4]], -1)
    np.testing.assert_allclose(
        got_NC[:4, 3], -decision_function(LABELS_N, TEXTS), atol=1e-4
    )


def test_fit_words_of_a_class_without_an_ad_is_what_an_svm_says_of_only_others():
    # a one-vs-rest SVM, to which each ad is one of the others, has the margin -1 nearly everywhere
    svm = LinearSVC(random_state=0)
    tfidf_NV = TfidfVectorizer().fit_transform(TEXTS * 50)
    svm.fit(tfidf_NV, [0] * 199 + [1])
    assert np.median(svm.decision_function(tfidf_NV)) == pytest.approx(-1, abs=0.1)


def test_fit_words_keeps_the_most_frequent_n_grams_within_its_bounds(
    ads, ad_texts, monkeypatch
):
    names = sorted(set(ads["category"].to_pylist()))
    labels_N = np.array([names.index(name) for name in ads["category"].to_pylist()])
    train = LabelledAds(ad_texts, labels_N)
    whole = fit_words(train, 50)
    monkeypatch.setattr(module, "MAX_WEIGHTS", 50 * 100)
    few = fit_words(train, 50)
    assert len(few.ngrams) == 100 < len(whole.ngrams)
    assert set(few.ngrams) < set(whole.ngrams)
    monkeypatch.setattr(module, "MAX_NGRAMS", 30)
    assert len(fit_words(train, 50).ngrams) == 30


@pytest.mark.parametrize(
    ("texts", "labels"),
    [(["один", "два", "три"], [0, 1, 1]), (TEXTS, [1, 1, 1, 1]), (["-", "+"], [0, 1])],
)
def test_fit_words_of_nothing_to_learn_is_refused_in_one_line(texts, labels):
    with pytest.raises(
        SchemaError, match=r"^baseline: stack .* Set baseline to compare$"
    ):
        fit_words(LabelledAds(texts, np.array(labels)), 2)


def test_learn_words_of_a_large_train_split_are_those_of_a_sample_and_says_so(
    ad_texts, monkeypatch, caplog
):
    caplog.set_level("INFO")
    train = LabelledAds(ad_texts[:200], np.arange(200) % 4)
    monkeypatch.setattr(module, "MAX_TRAIN_ADS", 150)
    words = learn_words(train, 4, LocalWorkers())
    expected = fit_words(train.take(sample_rows(200, 150)), 4)
    assert words.num_train == 150
    assert words.ngrams == expected.ngrams
    np.testing.assert_array_equal(words.weights_VC, expected.weights_VC)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("words and pairs of words of 150 of 200 train ads")
    margins = margins_of(
        words, {"a": train, "b": train.take(np.arange(3))}, LocalWorkers()
    )
    np.testing.assert_array_equal(margins["a"], expected.margins(train.texts))
    assert margins["b"].shape == (3, 4)

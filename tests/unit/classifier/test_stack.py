"""Words as plain numbers beside the pipeline of scikit-learn that they come from."""

import dataclasses
import pickle

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from rubert_ood.classifier.stack import MAX_CHARACTERS, Stack, WordModel, probe_texts
from rubert_ood.errors import BundleError

NUM_CLASSES = 5


@pytest.fixture(scope="module")
def words(stack) -> WordModel:
    return stack.words


def test_margins_are_those_of_the_pipeline_of_scikit_learn(words, ad_texts, word_labels):
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    pipeline = make_pipeline(tfidf, LinearSVC(random_state=0))
    heads = [text[:MAX_CHARACTERS] for text in ad_texts]
    pipeline.fit(heads[:300], word_labels[:300])
    hostile = ["", "ё", "не в словаре xyzzy", "диван-диван/диван_2", "\ud800 диван"]
    texts = [*heads[300:], *hostile]
    expected_NC = pipeline.decision_function(texts)
    got_NC = words.margins([*ad_texts[300:], *hostile])
    assert got_NC.dtype == np.float32
    np.testing.assert_allclose(got_NC, expected_NC, atol=1e-5)
    right = got_NC[:200].argmax(1) == word_labels[300:]
    assert right.mean() > 0.5


def test_margins_of_a_text_do_not_depend_on_the_others(words, ad_texts):
    together_NC = words.margins(ad_texts[:50])
    for number, text in enumerate(ad_texts[:50]):
        np.testing.assert_array_equal(words.margins([text])[0], together_NC[number])
    assert words.margins([]).shape == (0, NUM_CLASSES)


def test_margins_are_of_the_beginning_of_a_text(words):
    text = "диван " * MAX_CHARACTERS
    cut = text[:MAX_CHARACTERS]
    expected_NC = words.margins([cut])
    behind = f"{text} {' '.join(words.ngrams[:99])}"
    np.testing.assert_array_equal(words.margins([behind]), expected_NC)
    longer = dataclasses.replace(words, max_characters=10**6)
    assert np.abs(longer.margins([behind]) - expected_NC).max() > 0.01


def test_margins_of_another_reading_of_words_are_refused(words, monkeypatch):
    stored = dataclasses.replace(words)
    monkeypatch.setattr("rubert_ood.classifier.stack.TOKEN_PATTERN", r"(?u)[\w-]+")
    with pytest.raises(BundleError, match=r"^stack.json: scikit-learn .* train again$"):
        stored.margins(["диван"])


def test_margins_of_an_idf_that_is_otherwise_smoothed_are_refused(words):
    other = dataclasses.replace(words, idf_V=words.idf_V * 1.5 - 1)
    with pytest.raises(BundleError, match="reads words otherwise"):
        other.margins(["диван"])


def test_probe_texts_are_made_of_the_n_grams_and_join_them_in_several_ways(words):
    probes = probe_texts(words.ngrams)
    assert len(probes) == len(words.probes_PC) == 16
    joints = [", ", "-", "/", " и ", ".", "_"]
    assert [any(joint in probe for probe in probes) for joint in joints] == [True] * 6
    told = np.abs(words.probes_PC - words.biases_C).max(axis=1) > 1e-3
    assert told.sum() >= 14  # of words joined by _ nothing may be left
    assert probe_texts(["диван", "стол"]) == ["диван", "стол"]


def test_stack_adds_its_weight_times_the_margins_and_travels(words, ad_texts):
    stack = Stack(words, 1.75)
    expected_NC = words.margins(ad_texts[:9]) * np.float32(1.75)
    np.testing.assert_array_equal(stack.logits(ad_texts[:9]), expected_NC)
    there = pickle.loads(pickle.dumps(stack))
    np.testing.assert_array_equal(there.logits(ad_texts[:9]), expected_NC)

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from rubert_ood.annotating.diverse import Spread

TEXTS = [
    "диван угловой серый новый",
    "диван угловой серый новый почти",
    "квартира студия центр балкон",
    "шины зимние комплект литые диски",
    "котёнок рыжий ласковый добрые руки",
]


def test_pick_takes_the_farthest_first_and_leaves_near_duplicates() -> None:
    spread = Spread(TEXTS)
    chosen, near = spread.pick(np.arange(5), 5, max_similarity=0.6)
    assert chosen[0] == 0
    assert set(chosen) == {0, 2, 3, 4}
    assert near == {1}


def test_nearest_of_each_text_is_the_cosine_of_tfidf() -> None:
    spread = Spread(TEXTS)
    spread.take(0)
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(TEXTS)
    expected = (tfidf @ tfidf[0].T).toarray().ravel()
    np.testing.assert_allclose(spread.nearest_N, expected, atol=1e-12)


def test_pick_of_more_than_there_is_ends() -> None:
    chosen, near = Spread(TEXTS).pick(np.arange(5), 50, max_similarity=1.0)
    assert (sorted(chosen), near) == ([0, 1, 2, 3, 4], set())

"""Ads that differ from each other: greedy k-center on TF-IDF of the texts.

The texts of the candidates are at hand, and near-duplicates are a matter of wording. CLS vectors
are not: a run seldom keeps them, those of 10 million ads are 15 GB, and a fine-tuned network draws
all ads of a class together. Shapes: N candidates, V hashed words.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

NUM_HASHES = 2**18
TOLERANCE = 1e-9


class Spread:
    """The candidates by their texts, and how near each is to those that were taken."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Take the cleaned texts."""
        counts = HashingVectorizer(
            ngram_range=(1, 2), n_features=NUM_HASHES, alternate_sign=False, norm=None
        )
        words_NV = counts.transform(texts)
        self._tfidf_NV: csr_matrix = TfidfTransformer(sublinear_tf=True).fit_transform(
            words_NV
        )
        self.nearest_N: NDArray[np.float64] = np.zeros(len(texts))
        """Cosine to the most similar of those that were taken; 0 where none is similar."""

    def take(self, row: int) -> None:
        """Note that a candidate is taken."""
        cosines_N = (self._tfidf_NV @ self._tfidf_NV[row].T).toarray().ravel()
        np.maximum(self.nearest_N, cosines_N, out=self.nearest_N)

    def pick(
        self, rows: NDArray[np.int64], num: int, max_similarity: float
    ) -> tuple[list[int], set[int]]:
        """Take up to `num` of these candidates, the farthest from all that were taken first; among
        equals the first of `rows`.

        Returns them, and those that are as near as `max_similarity`, or nearer, to one that was
        taken. Source: Gonzalez 1985; Sener and Savarese 2018, algorithm 1.
        """
        chosen = list[int]()
        left, limit = rows, max_similarity - TOLERANCE
        while len(chosen) < num and len(left):
            near_n = self.nearest_N[left]
            place = int(near_n.argmin())
            if near_n[place] >= limit:
                break
            row = int(left[place])
            chosen.append(row)
            self.take(row)
            left = np.delete(left, place)
        return chosen, set(left[self.nearest_N[left] >= limit].tolist())

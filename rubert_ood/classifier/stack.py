"""Words beside the network: TF-IDF of words and pairs of words, a linear SVM, and one weight.

A bundle that has them adds weight x margins to the logits of the network, before T and every
decision. They are plain numbers, which scikit-learn is given to read texts with.
Shapes: N texts, C classes, V n-grams, P probes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rubert_ood.errors import BundleError

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

MAX_CHARACTERS = 4_096
"""Of a cleaned text, its beginning: half of what is cleaned of an ad without end (fold.py)."""
TOKEN_PATTERN = r"(?u)\b\w\w+\b"
MIN_ADS = 2
"""Train ads that an n-gram must stand in."""
NUM_PROBES, WORDS_OF_A_PROBE = 16, 4
JOINTS = (" ", ", ", "-", "/", " и ", ".", "_", " 1 ")
PROBE_TOLERANCE = 1e-4


def vectorizer(
    ngrams: Sequence[str] | None = None, *, most: int | None = None
) -> "TfidfVectorizer":
    """Return what counts and weighs the n-grams of cleaned texts, which are lower-case.

    With `ngrams` of these, in this order, in float32; else of at most so many that it will learn.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    is_known = ngrams is not None
    return TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        lowercase=False,
        token_pattern=TOKEN_PATTERN,
        min_df=1 if is_known else MIN_ADS,
        max_features=most,
        vocabulary=ngrams,
        dtype=np.float32 if is_known else np.float64,
    )


def probe_texts(ngrams: Sequence[str]) -> list[str]:
    """Join n-grams from all over the vocabulary in the ways in which ads join words."""
    chosen = ngrams[:: max(1, len(ngrams) // (NUM_PROBES * WORDS_OF_A_PROBE))]
    texts = []
    for number in range(min(NUM_PROBES, len(chosen))):
        joint = JOINTS[number % len(JOINTS)]
        texts.append(joint.join(chosen[number::NUM_PROBES][:WORDS_OF_A_PROBE]))
    return texts


@dataclass(frozen=True, eq=False)
class WordModel:
    """The one-vs-rest SVMs of all classes, on the same n-grams."""

    ngrams: list[str]
    """Words, and pairs of words with a space between."""
    idf_V: NDArray[np.float32]
    weights_VC: NDArray[np.float32]
    biases_C: NDArray[np.float32]
    made_by: str
    """The version of scikit-learn that they were fitted with."""
    num_train: int
    """Ads that they were learned from."""
    probes_PC: NDArray[np.float32] | None = None
    """Margins of `probe_texts` in that version; None: not known, and not checked."""
    max_characters: int = MAX_CHARACTERS
    """Characters at the beginning of a text that are read."""

    def margins(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the signed distance of each cleaned text to each class, the larger the likelier:
        (N, C).

        A row depends on its own text alone. Raises BundleError where this version of scikit-learn
        has other margins than the one that they were fitted with.
        """
        self._checked  # noqa: B018
        return self._margins(texts)

    @cached_property
    def _vectorizer(self) -> "TfidfVectorizer":
        found = vectorizer(self.ngrams)
        found.idf_ = self.idf_V
        return found

    def _margins(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, len(self.biases_C)), np.float32)
        heads = [text[: self.max_characters] for text in texts]
        tfidf_NV = self._vectorizer.transform(heads)
        return np.asarray(tfidf_NV @ self.weights_VC + self.biases_C, np.float32)

    @cached_property
    def _checked(self) -> None:
        if self.probes_PC is None:
            return
        found_PC = self._margins(probe_texts(self.ngrams))
        if np.allclose(
            found_PC, self.probes_PC, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE
        ):
            return
        import sklearn

        raise BundleError(
            f"stack.json: scikit-learn {sklearn.__version__} reads words otherwise than"
            f" {self.made_by}, which fitted them. Install that version, or train again"
        )


@dataclass(frozen=True, eq=False)
class Stack:
    """What is added to the logits of the network."""

    words: WordModel
    weight: float
    """Of a margin, in logits."""

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return what is added to the logits of each cleaned text: (N, C)."""
        return weighted(self.words.margins(texts), self.weight)


def weighted(margins_NC: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Return margins in logits, in float32 as the logits are."""
    return margins_NC * np.float32(weight)

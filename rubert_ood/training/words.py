"""The words of the train ads, as a linear model that may stand beside the network.

Shapes: N ads, C classes, V n-grams.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import sklearn
from sklearn.svm import LinearSVC

from rubert_ood.ads.dataset import Ads, LabelledAds, Workers
from rubert_ood.classifier.stack import MAX_CHARACTERS, WordModel, probe_texts, vectorizer
from rubert_ood.errors import SchemaError
from rubert_ood.ood.outputs import sample_rows
from rubert_ood.progress import StepLog
from rubert_ood.training.baseline import MAX_TRAIN_ADS

log = StepLog("stack")

MAX_NGRAMS = 100_000
"""The most frequent ones: 4 MB of JSON, and a tenth of a second where a bundle is loaded."""
MAX_WEIGHTS = 10_000_000
"""n-grams x classes: 40 MB in the memory of each process that encodes."""
NO_AD = -1.0
"""Margin of a class that has no ad in the sample: a one-vs-rest SVM without an ad of its own class
says so of every ad."""


def learn_words(train: Ads, num_classes: int, workers: Workers) -> WordModel:
    """Fit on train, of which a seeded sample is taken where it is large, and say on how much.

    The texts are brought together where the work is done. Raises SchemaError where train has no
    word twice, or the sample a single class.
    """
    rows = sample_rows(len(train), MAX_TRAIN_ADS)
    learn = partial(_learn, num_classes=num_classes)
    words = next(iter(workers.map(learn, [train.take(rows)])))
    log.info(
        f"{len(words.ngrams):,} words and pairs of words"
        f" of {len(rows):,} of {len(train):,} train ads"
    )
    return words


def _learn(train: Ads, num_classes: int) -> WordModel:
    return fit_words(train.here(), num_classes)


def fit_words(train: LabelledAds, num_classes: int) -> WordModel:
    """Fit TF-IDF and the SVMs on cleaned ads. Raises as `learn_words` does."""
    most = min(MAX_NGRAMS, max(1, MAX_WEIGHTS // num_classes))
    counter = vectorizer(most=most)
    svm = LinearSVC(random_state=0)
    heads = [text[:MAX_CHARACTERS] for text in train.texts]
    try:
        svm.fit(counter.fit_transform(heads), train.labels_N)
    except ValueError as error:  # of scikit-learn, which quotes no text
        raise SchemaError(
            f"baseline: stack cannot learn words from {len(heads):,} train ads ({error})."
            " Set baseline to compare"
        ) from error
    weights_CV, biases_C = _one_vs_rest(svm, num_classes)
    words = WordModel(
        ngrams=counter.get_feature_names_out().tolist(),
        idf_V=counter.idf_.astype(np.float32),
        weights_VC=np.ascontiguousarray(weights_CV.T, np.float32),
        biases_C=biases_C.astype(np.float32),
        made_by=sklearn.__version__,
        num_train=len(heads),
    )
    return replace(words, probes_PC=words.margins(probe_texts(words.ngrams)))


def _one_vs_rest(svm: LinearSVC, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (C, V) and biases (C,) of all classes; of two scikit-learn keeps one row."""
    rows_cV, biases_c = svm.coef_, svm.intercept_
    if len(svm.classes_) == 2:
        rows_cV = np.vstack([-rows_cV, rows_cV])
        biases_c = np.concatenate([-biases_c, biases_c])
    weights_CV = np.zeros((num_classes, rows_cV.shape[1]))
    biases_C = np.full(num_classes, NO_AD)
    weights_CV[svm.classes_] = rows_cV
    biases_C[svm.classes_] = biases_c
    return weights_CV, biases_C


def margins_of(
    words: WordModel, splits: Mapping[str, Ads], workers: Workers
) -> dict[str, np.ndarray]:
    """Return the margins of each split, float32 (N, C), read where its texts lie."""
    read = partial(_margins, words=words)
    return dict(zip(splits, workers.map(read, list(splits.values())), strict=True))


def _margins(ads: Ads, words: WordModel) -> np.ndarray:
    return words.margins(ads.here().texts)

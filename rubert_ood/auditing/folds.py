"""Out-of-fold probabilities: each ad is judged by a model that has not seen its text.

Shapes: N ads, C classes, H hidden, n ads of a fold.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rubert_ood.errors import SchemaError
from rubert_ood.ood.temperature import fit_temperature, softmax
from rubert_ood.progress import Progress
from rubert_ood.training.baseline import words_and_letters

ABSENT = -1.0
"""Margin of a class that no ad of the other folds has."""
T_RANGE = 0.02, 10.0
"""Where T is looked for: a margin of an SVM is about 1 where a logit is 5."""
MAX_ITERATIONS = 500

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
Judge = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""Rows to learn from, rows to judge -> logits (n, C) of the latter."""


def cut_folds(
    keys_N: NDArray[np.object_], labels_N: NDArray[np.int64], num: int, seed: int
) -> list[Fold]:
    """Cut the ads into folds by class, all ads of one text in one; return rows of (the others,
    the fold).

    Raises SchemaError where no class has so many texts, or where all ads beside those of a fold are
    of one class.
    """
    _, first_T, text_N = np.unique(keys_N, return_index=True, return_inverse=True)
    counts = np.bincount(labels_N[first_T])
    if counts.max() < num:
        raise SchemaError(
            f"the largest class has {counts.max():,} different texts, and an audit in"
            f" {num} folds needs as many. Add ads, or lower folds"
        )
    cutter = StratifiedKFold(num, shuffle=True, random_state=seed)
    fold_T = np.zeros(len(first_T), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of small classes: the audit says so
        parts = list(cutter.split(first_T, labels_N[first_T]))
    for number, (_, rows_T) in enumerate(parts):
        fold_T[rows_T] = number
    fold_N = fold_T[text_N]
    folds = list[Fold]()
    for number in range(num):
        others, fold = np.flatnonzero(fold_N != number), np.flatnonzero(fold_N == number)
        if len(np.unique(labels_N[others])) < 2:
            raise SchemaError(
                f"an audit in {num} folds needs two classes in each, and all ads beside"
                " one fold are of one class. Add ads of other classes"
            )
        folds.append((others, fold))
    return folds


def out_of_fold(
    folds: Sequence[Fold], judge: Judge, labels_N: NDArray[np.int64], num_classes: int
) -> NDArray[np.float64]:
    """Return a probability of each class for each ad, float64 (N, C), made honest by one T."""
    logits_NC = np.zeros((len(labels_N), num_classes))
    progress = Progress("audit", len(folds), "folds")
    for others, fold in folds:
        logits_NC[fold] = judge(others, fold)
        progress.add(1)
    lower, upper = T_RANGE
    fitted = fit_temperature(
        logits_NC, labels_N, lower=lower, upper=upper, of="confidence"
    )
    return softmax(logits_NC, fitted.temperature)


def word_judge(
    texts: Sequence[str], labels_N: NDArray[np.int64], num_classes: int
) -> Judge:
    """Judge by the baseline: TF-IDF of words and letters, linear SVM.

    It raises SchemaError where no word is in two ads.
    """

    def judge(others: NDArray[np.int64], fold: NDArray[np.int64]) -> NDArray[np.float64]:
        model = words_and_letters()
        try:
            model.fit([texts[row] for row in others], labels_N[others])
        except ValueError as error:  # of scikit-learn, which quotes no text
            raise SchemaError(
                f"an audit cannot learn words from {len(others):,} ads ({error}). Add ads"
            ) from error
        margins = model.decision_function([texts[row] for row in fold])
        return _all_classes(margins, model.classes_, num_classes)

    return judge


def feature_judge(
    cls_NH: NDArray[np.float32], labels_N: NDArray[np.int64], num_classes: int
) -> Judge:
    """Judge by a logistic regression on standardised CLS features, float32 (N, H)."""

    def judge(others: NDArray[np.int64], fold: NDArray[np.int64]) -> NDArray[np.float64]:
        head = LogisticRegression(max_iter=MAX_ITERATIONS)
        model = make_pipeline(StandardScaler(), head)
        model.fit(cls_NH[others], labels_N[others])
        logits = model.decision_function(cls_NH[fold])
        return _all_classes(logits, model.classes_, num_classes)

    return judge


def _all_classes(
    scores: NDArray[np.float64], classes: NDArray[np.int64], num_classes: int
) -> NDArray[np.float64]:
    """Give each class its column; of two classes scikit-learn keeps one."""
    if scores.ndim == 1:
        scores = np.column_stack([-scores, scores])
    floor = min(ABSENT, float(scores.min()))
    logits_nC = np.full((len(scores), num_classes), floor)
    logits_nC[:, classes] = scores
    return logits_nC

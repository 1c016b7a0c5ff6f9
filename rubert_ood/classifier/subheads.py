"""Sub-heads: a finer class inside a coarse one, by a logistic regression on the fixed CLS features.

p(s | x, c) = softmax(W_c x + b_c)_s, one W_c and b_c for each coarse category c that has
sub-categories. Shapes: N ads, H hidden, S sub-categories of one category. Everything is computed in
float64.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import softmax

from rubert_ood.errors import BundleError, SchemaError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.settings import SubheadsSettings

log = StepLog("subheads")

MAX_ITERATIONS = 2000


@dataclass(frozen=True, eq=False)
class SubHead:
    """Raises BundleError unless names and arrays fit each other and are finite."""

    names: list[str]
    """Sub-categories, sorted."""
    weights_SH: np.ndarray
    biases_S: np.ndarray
    measured: dict[str, int | float] = field(default_factory=dict)
    """num_train, num_test, and on the held-out ads: accuracy, majority_accuracy (always the most
    frequent one)."""

    def __post_init__(self) -> None:
        shapes = self.weights_SH.shape, self.biases_S.shape
        num_names, fits = len(self.names), self.weights_SH.ndim == 2
        if (
            num_names < 2
            or not fits
            or (shapes[0][0], *shapes[1]) != (num_names, num_names)
        ):
            raise BundleError(
                f"a sub-head of {num_names} sub-categories has arrays of shapes {shapes}"
            )
        if not (np.isfinite(self.weights_SH).all() and np.isfinite(self.biases_S).all()):
            raise BundleError("a sub-head holds NaN or infinite numbers")

    def probabilities(self, cls_NH: np.ndarray) -> np.ndarray:
        """Return float64 (N, S)."""
        return np.asarray(
            softmax(cls_NH.astype(np.float64) @ self.weights_SH.T + self.biases_S, axis=1)
        )


@dataclass(frozen=True, eq=False)
class SubHeads:
    """One linear head for each class that has sub-categories, all on the same CLS vector."""

    heads: dict[str, SubHead]
    """By coarse category."""
    settings: dict[str, int | float] = field(default_factory=dict)
    """What they were trained with."""

    def predict(
        self, cls_NH: np.ndarray, labels: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the best sub-category of each ad inside its label, and its probability: (N,) each.

        None and NaN where the label has no sub-head, as `Other` never has.
        """
        names_N, confidence_N = (
            np.full(len(cls_NH), None, object),
            np.full(len(cls_NH), np.nan),
        )
        label_N = np.asarray(labels, object)
        for category, head in self.heads.items():
            rows = np.flatnonzero(label_N == category)
            p_nS = head.probabilities(cls_NH[rows])
            names_N[rows] = np.array(head.names, object)[p_nS.argmax(axis=1)]
            confidence_N[rows] = p_nS.max(axis=1)
        return names_N, confidence_N


def fit_subheads(
    cls_NH: np.ndarray,
    categories: Sequence[str],
    subcategories: Sequence[str],
    settings: SubheadsSettings,
) -> SubHeads:
    """Fit one head per category, and measure it on the ads that were held out.

    Left out, with a warning: sub-categories of fewer than min_rows_per_class ads, then categories
    with fewer than two sub-categories. Raises SchemaError when nothing is left.
    """
    heads = {}
    category_N, sub_N = np.asarray(categories, object), np.asarray(subcategories, object)
    for category in sorted(set(categories)):
        rows = np.flatnonzero(category_N == category)
        counts = Counter(sub_N[rows].tolist())
        least = settings.min_rows_per_class
        names = sorted(name for name, count in counts.items() if count >= least)
        for name in sorted(counts.keys() - set(names)):
            log.warning(
                "%s / %s: leaves out this sub-category, which has only %s",
                category,
                name,
                count_of(counts[name], "ad"),
            )
        if len(names) < 2:
            log.warning(
                "%s: trains no sub-head, which needs 2 sub-categories with enough ads"
                " (found %d)",
                category,
                len(names),
            )
            continue
        rows = rows[np.isin(sub_N[rows], names)]
        heads[category] = _fit_one(
            cls_NH[rows].astype(np.float64), sub_N[rows], names, settings
        )
    if not heads:
        raise SchemaError(
            "no category has two sub-categories of at least"
            f" {settings.min_rows_per_class} ads (min_rows_per_class). Add"
            " more ads"
        )
    used = settings.model_dump(
        include={"min_rows_per_class", "test_fraction", "regularisation", "seed"}
    )
    return SubHeads(heads, used)


def _fit_one(
    cls_NH: np.ndarray, sub_N: np.ndarray, names: list[str], settings: SubheadsSettings
) -> SubHead:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    target_N = np.searchsorted(np.array(names, object), sub_N)
    train, test = train_test_split(
        np.arange(len(target_N)),
        test_size=_num_test(settings, target_N),
        stratify=target_N,
        random_state=settings.seed,
    )
    mean_H, scale_H = cls_NH[train].mean(axis=0), cls_NH[train].std(axis=0)
    is_constant_H = scale_H <= np.finfo(np.float32).eps * np.abs(mean_H)  # up to rounding
    scale_H[is_constant_H] = 1.0
    model = LogisticRegression(C=settings.regularisation, max_iter=MAX_ITERATIONS)
    model.fit((cls_NH[train] - mean_H) / scale_H, target_N[train])
    weights_SH, biases_S = model.coef_, model.intercept_
    if len(names) == 2:
        # one row for the second class, by sigmoid: the same as a softmax against zeros
        weights_SH = np.vstack([np.zeros_like(weights_SH), weights_SH])
        biases_S = np.r_[0.0, biases_S]
    weights_SH = weights_SH / scale_H
    head = SubHead(names, weights_SH, biases_S - weights_SH @ mean_H)
    majority = np.bincount(target_N[train]).argmax()
    accuracy = np.mean(head.probabilities(cls_NH[test]).argmax(axis=1) == target_N[test])
    head.measured.update(
        num_train=len(train),
        num_test=len(test),
        accuracy=float(accuracy),
        majority_accuracy=float(np.mean(target_N[test] == majority)),
    )
    return head


def _num_test(settings: SubheadsSettings, target_N: np.ndarray) -> int:
    """Hold at least one ad of each sub-category out, and leave at least one to train on."""
    num_names = len(np.unique(target_N))
    wanted = round(settings.test_fraction * len(target_N))
    return min(max(wanted, num_names), len(target_N) - num_names)

"""The classes of the test ads, one by one: F1 of both bundles, who is right alone, confusions.

Shapes: N test ads. Classes are numbers, in the order of their names.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubert_ood.ood.metrics import ClassificationMetrics, classification_metrics
from rubert_ood.promotion.document import Change, ClassRow, ConfusionRow, Discordant
from rubert_ood.promotion.statistics import adjusted, interval, mcnemar, paired_bootstrap

NUM_CONFUSIONS = 30


@dataclass(frozen=True, eq=False)
class Judged:
    """The labels of the test ads, and the best class of each bundle: the new one, the champion."""

    names: list[str]
    labels_N: NDArray[np.int64]
    best: list[NDArray[np.int64]]
    """(N,) of each bundle; one or two."""

    def metrics(self) -> list[ClassificationMetrics]:
        """Measure each bundle."""
        return [
            classification_metrics(self.labels_N, best_N, self.names)
            for best_N in self.best
        ]

    def involves(self, number: int) -> NDArray[np.bool_]:
        """Say which ads are of a class, or are taken for it by either bundle: what F1 rests on."""
        columns = [self.labels_N, *self.best]
        return np.logical_or.reduce([column_N == number for column_N in columns])

    def discordant(self, rows_N: NDArray[np.bool_] | None = None) -> Discordant:
        """Count the ads, or those of some rows, that only one bundle gets right."""
        new_N, champion_N = [best_N == self.labels_N for best_N in self.best]
        rows = slice(None) if rows_N is None else rows_N
        only_new = int((new_N & ~champion_N)[rows].sum())
        only_champion = int((champion_N & ~new_N)[rows].sum())
        p = mcnemar(only_new, only_champion)
        return Discordant(only_new=only_new, only_champion=only_champion, p=p)


@dataclass(frozen=True)
class Changes:
    """How the new bundle differs from the champion."""

    accuracy: Change
    macro_f1: Change
    f1: list[Change]
    """Of each class."""


def changes(judged: Judged, confidence: float) -> Changes:
    """Return the differences with their intervals."""
    new, champion = judged.metrics()
    new_N, champion_N = judged.best
    drawn = paired_bootstrap(judged.labels_N, new_N, champion_N, len(judged.names))
    of_classes = []
    for number, pair in enumerate(zip(new.per_class, champion.per_class, strict=True)):
        value = pair[0].f1 - pair[1].f1
        of_classes.append(_change(value, drawn.f1_RC[:, number], confidence))
    accuracy = new.accuracy - champion.accuracy
    macro_f1 = new.macro_f1 - champion.macro_f1
    return Changes(
        accuracy=_change(accuracy, drawn.accuracy_R, confidence),
        macro_f1=_change(macro_f1, drawn.macro_f1_R, confidence),
        f1=of_classes,
    )


def _change(value: float, values_R: NDArray[np.float64], confidence: float) -> Change:
    lower, upper = interval(values_R, confidence)
    return Change(value=value, lower=lower, upper=upper)


def class_rows(judged: Judged, changed: Changes | None) -> list[ClassRow]:
    """Describe each class; beside the champion where there is one."""
    metrics = judged.metrics()
    if changed is None:
        return [
            ClassRow(label=row.label, support=row.support, f1=row.f1)
            for row in metrics[0].per_class
        ]
    found = []
    for number in range(len(judged.names)):
        found.append(judged.discordant(judged.involves(number)))
    p_values = adjusted([one.p for one in found])
    rows = []
    for number, name in enumerate(judged.names):
        new, champion = metrics[0].per_class[number], metrics[1].per_class[number]
        row = ClassRow(
            label=name,
            support=new.support,
            f1=new.f1,
            champion_f1=champion.f1,
            change=changed.f1[number],
            discordant=found[number].model_copy(update={"p": p_values[number]}),
        )
        rows.append(row)
    return rows


def confusion_rows(judged: Judged) -> list[ConfusionRow]:
    """List the mistakes whose number changed most; without a champion the most frequent ones."""
    counts = [_mistakes(judged.labels_N, best_N) for best_N in judged.best]
    before = counts[1] if len(counts) > 1 else Counter[tuple[int, int]]()

    def most_changed(pair: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
        count = counts[0][pair]
        return -abs(count - before[pair]), -count, pair

    rows = []
    for pair in sorted({*counts[0], *before}, key=most_changed)[:NUM_CONFUSIONS]:
        row = ConfusionRow(
            true=judged.names[pair[0]],
            predicted=judged.names[pair[1]],
            count=counts[0][pair],
            champion_count=before[pair] if len(counts) > 1 else None,
        )
        rows.append(row)
    return rows


def _mistakes(
    labels_N: NDArray[np.int64], best_N: NDArray[np.int64]
) -> Counter[tuple[int, int]]:
    wrong_N = labels_N != best_N
    pairs: Sequence[tuple[int, int]] = list(
        zip(labels_N[wrong_N].tolist(), best_N[wrong_N].tolist(), strict=True)
    )
    return Counter(pairs)

"""From the counts of all partitions to what diff.json says."""

import math
from collections import Counter
from collections.abc import Iterable

from rubert_ood.comparing.counts import ConfidenceSum, Counts
from rubert_ood.comparing.document import (
    Confidence,
    DiffDocument,
    LabelCounts,
    OodFlags,
    Side,
    Texts,
    TextSum,
    Transition,
)


def summary(a: Side, b: Side, total: Counts) -> DiffDocument:
    """Turn the sum over all partitions into the document; rates are null without ads."""
    texts = total.texts
    changed = texts.same_label_changed + texts.changed_label_changed
    return DiffDocument(
        a=a,
        b=b,
        ads=total.ads,
        duplicates=total.duplicates,
        changed=changed,
        churn_rate=_share(changed, total.ads.both),
        texts=_texts(texts),
        transitions=sorted(total.transitions, key=_most_frequent_first),
        ood=OodFlags(
            **dict(total.ood),
            became_examples=total.became_ood,
            no_longer_examples=total.no_longer_ood,
        ),
        other=total.other,
        confidence=_confidence(total.confidence),
        labels=_labels(total),
    )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _most_frequent_first(transition: Transition) -> tuple[int, str, str]:
    return -transition.count, transition.label_a, transition.label_b


def _texts(texts: TextSum) -> Texts:
    return Texts(
        **dict(texts),
        same_churn_rate=_share(texts.same_label_changed, texts.same),
        changed_churn_rate=_share(texts.changed_label_changed, texts.changed),
    )


def _confidence(sums: ConfidenceSum) -> Confidence:
    mean_a = _share(math.fsum(sums.sums_a), sums.num)
    mean_b = _share(math.fsum(sums.sums_b), sums.num)
    change = None if mean_a is None or mean_b is None else mean_b - mean_a
    return Confidence(num=sums.num, mean_a=mean_a, mean_b=mean_b, mean_change=change)


def _labels(total: Counts) -> list[LabelCounts]:
    """Count each label, that of most ads first."""
    left, joined = _moved(total.transitions)
    rows = []
    for label in {*total.stayed, *left, *joined, *total.only_a, *total.only_b}:
        row = LabelCounts(
            label=label,
            in_a=total.stayed[label] + left[label] + total.only_a[label],
            in_b=total.stayed[label] + joined[label] + total.only_b[label],
            stayed=total.stayed[label],
            left=left[label],
            joined=joined[label],
            only_a=total.only_a[label],
            only_b=total.only_b[label],
        )
        rows.append(row)
    return sorted(rows, key=lambda row: (-row.in_a - row.in_b, row.label))


def _moved(transitions: Iterable[Transition]) -> tuple[Counter[str], Counter[str]]:
    """Return the ads that left each label, and those that joined it."""
    left, joined = Counter[str](), Counter[str]()
    for transition in transitions:
        left[transition.label_a] += transition.count
        joined[transition.label_b] += transition.count
    return left, joined

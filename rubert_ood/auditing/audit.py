"""An audit: the suspects, the pairs of classes that they lie between, and texts of several labels.

Shapes: N ads, C classes.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubert_ood.auditing.confident import Suspicion, suspect
from rubert_ood.auditing.material import AuditAds

SCHEMA = pa.schema(
    [
        pa.field("rank", pa.int64()),
        pa.field("file", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("ad_id", pa.string()),
        pa.field("label", pa.string()),
        pa.field("suggested", pa.string()),
        pa.field("label_probability", pa.float64()),
        pa.field("suggested_probability", pa.float64()),
        pa.field("margin", pa.float64()),
        pa.field("has_conflict", pa.bool_()),
        pa.field("text", pa.string()),
    ]
)
"""text is cleaned: it has no phone numbers. has_conflict: the text stands under several labels."""


@dataclass(frozen=True)
class Pair:
    """Suspects of one label that seem to be of one other class."""

    label: str
    suggested: str
    count: int


@dataclass(frozen=True)
class Conflict:
    """One text under several labels."""

    text: str
    labels: dict[str, int]
    """Ads by label, the most frequent first."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found."""

    num_ads: int
    num_unreadable: int
    accuracy: float
    """Share of ads whose most probable class is their label."""
    small_classes: list[str]
    """Classes with fewer different texts than folds: their labels cannot be judged, and no other ad
    is suggested to be of them."""
    suspects: pa.Table
    pairs: list[Pair]
    conflicts: list[Conflict]


def audit(ads: AuditAds, probabilities_NC: NDArray[np.float64], folds: int) -> Audit:
    """Judge the labels by out-of-fold probabilities."""
    texts = {(key, label) for key, label in zip(ads.keys_N, ads.labels_N, strict=True)}
    counts_C = np.bincount([label for _, label in texts], minlength=len(ads.labels))
    is_small_C = counts_C < folds
    found = suspect(probabilities_NC, ads.labels_N, is_small_C)
    rows = found.suspects(ads.labels_N)
    rows = rows[~is_small_C[ads.labels_N[rows]]]
    conflicts, conflicting = _conflicts(ads)
    pairs = Counter((int(ads.labels_N[row]), int(found.suggested_N[row])) for row in rows)
    return Audit(
        num_ads=len(ads),
        num_unreadable=ads.num_unreadable,
        accuracy=float((probabilities_NC.argmax(axis=1) == ads.labels_N).mean()),
        small_classes=[ads.labels[number] for number in np.flatnonzero(is_small_C)],
        suspects=_table(ads, rows, found, probabilities_NC, conflicting),
        pairs=[
            Pair(ads.labels[label], ads.labels[suggested], count)
            for (label, suggested), count in pairs.most_common()
        ],
        conflicts=conflicts,
    )


def _conflicts(ads: AuditAds) -> tuple[list[Conflict], set[str]]:
    """Return the texts that stand under several labels, those of most ads first, and their keys."""
    labels: dict[str, Counter[str]] = {}
    texts: dict[str, str] = {}
    for key, number, text in zip(ads.keys_N, ads.labels_N, ads.texts, strict=True):
        labels.setdefault(key, Counter())[ads.labels[number]] += 1
        texts[key] = text
    several = {key: counts for key, counts in labels.items() if len(counts) > 1}
    ordered = sorted(several, key=lambda key: (-several[key].total(), texts[key]))
    found = [Conflict(texts[key], dict(several[key].most_common())) for key in ordered]
    return found, set(several)


def _table(
    ads: AuditAds,
    rows: NDArray[np.int64],
    found: Suspicion,
    probabilities_NC: NDArray[np.float64],
    conflicting: set[str],
) -> pa.Table:
    records = []
    for rank, row in enumerate(rows.tolist(), start=1):
        label, suggested = int(ads.labels_N[row]), int(found.suggested_N[row])
        record = {
            "rank": rank,
            "file": ads.files[row],
            "row": ads.rows[row],
            "ad_id": ads.ad_ids[row] or None,
            "label": ads.labels[label],
            "suggested": ads.labels[suggested],
            "label_probability": float(probabilities_NC[row, label]),
            "suggested_probability": float(probabilities_NC[row, suggested]),
            "margin": float(found.margin_N[row]),
            "has_conflict": ads.keys_N[row] in conflicting,
            "text": ads.texts[row],
        }
        records.append(record)
    return pa.Table.from_pylist(records, schema=SCHEMA)

"""Count what differs between two runs, A and B, of the same ads.

Counts add up over partitions; a few examples go with them. An id that occurs more than once in A
or in B has no one partner: its rows are left out of the comparison, in both, and counted as
duplicates.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from rubert_ood.comparing.document import (
    Ads,
    Duplicates,
    Example,
    Flags,
    OodExample,
    Sum,
    TextSum,
    Transition,
)
from rubert_ood.ood.decision import OTHER
from rubert_ood.runs.record import Count

ROW_SCHEMA = pa.schema(
    [
        pa.field("ad_id", pa.string()),
        pa.field("label", pa.string()),
        pa.field("confidence", pa.float32()),
        pa.field("is_ood", pa.bool_()),
        pa.field("ood_distance", pa.float64()),
        pa.field("text_key", pa.string()),
        pa.field("in_b", pa.bool_()),
    ]
)
"""A row of either run. All rows of one id must be in one partition."""
EXAMPLES_PER_TRANSITION = 3
NUM_OOD_EXAMPLES = 20


class RowSum(Sum):
    """Rows of each run."""

    a: Count
    b: Count


class ConfidenceSum(Sum):
    """Confidence over ads of both runs, where both have one."""

    num: Count
    sums_a: list[float]
    """One a partition: they are added up exactly, whatever their order."""
    sums_b: list[float]


class Counts(Sum):
    """What differs in one partition, or in several together; `summary.py` makes diff.json of it."""

    rows: RowSum
    ads: Ads
    duplicates: Duplicates
    texts: TextSum
    ood: Flags
    other: Flags
    confidence: ConfidenceSum
    stayed: Counter[str]
    """Ads in both that kept their label, by label."""
    only_a: Counter[str]
    only_b: Counter[str]
    transitions: list[Transition]
    became_ood: list[OodExample]
    no_longer_ood: list[OodExample]

    def __add__(self, other: Self) -> Self:
        """Add a partition up; as many examples remain as one partition has."""
        total = super().__add__(other)
        kept = {
            "transitions": _merged(total.transitions),
            "became_ood": _farthest(total.became_ood),
            "no_longer_ood": _farthest(total.no_longer_ood),
        }
        return total.model_copy(update=kept)


def count_partition(rows: pa.Table) -> Counts:
    """Compare the rows, of ROW_SCHEMA, whose ids fall into one partition."""
    frame = rows.to_pandas()
    a = frame[~frame["in_b"]].drop(columns="in_b")
    b = frame[frame["in_b"]].drop(columns="in_b")
    duplicate_ids = _duplicate_ids(a) | _duplicate_ids(b)
    ones_a = a[~a["ad_id"].isin(duplicate_ids)]
    ones_b = b[~b["ad_id"].isin(duplicate_ids)]
    ads = ones_a.merge(ones_b, on="ad_id", suffixes=("_a", "_b"))
    ads = ads.sort_values("ad_id", ignore_index=True)
    only_a = ones_a[~ones_a["ad_id"].isin(ads["ad_id"])]
    only_b = ones_b[~ones_b["ad_id"].isin(ads["ad_id"])]
    changed = ads["label_a"] != ads["label_b"]
    was, now = ads["is_ood_a"].astype(bool), ads["is_ood_b"].astype(bool)
    return Counts(
        rows=RowSum(a=len(a), b=len(b)),
        ads=Ads(both=len(ads), only_a=len(only_a), only_b=len(only_b)),
        duplicates=Duplicates(
            ids=len(duplicate_ids),
            rows_a=len(a) - len(ones_a),
            rows_b=len(b) - len(ones_b),
        ),
        texts=_count_texts(ads, changed),
        ood=_count_flag(was, now),
        other=_count_flag(ads["label_a"] == OTHER, ads["label_b"] == OTHER),
        confidence=_sum_confidence(ads),
        stayed=Counter(ads.loc[~changed, "label_a"]),
        only_a=Counter(only_a["label"]),
        only_b=Counter(only_b["label"]),
        transitions=_transitions(ads[changed]),
        became_ood=_ood_examples(ads[~was & now], "ood_distance_b"),
        no_longer_ood=_ood_examples(ads[was & ~now], "ood_distance_a"),
    )


def _duplicate_ids(side: pd.DataFrame) -> set[str]:
    return set(side.loc[side["ad_id"].duplicated(), "ad_id"])


def _count_texts(ads: pd.DataFrame, changed: pd.Series) -> TextSum:
    same = ads["text_key_a"] == ads["text_key_b"]
    return TextSum(
        same=int(same.sum()),
        same_label_changed=int((same & changed).sum()),
        changed=int((~same).sum()),
        changed_label_changed=int((~same & changed).sum()),
    )


def _count_flag(was: pd.Series, now: pd.Series) -> Flags:
    return Flags(
        both=int((was & now).sum()),
        became=int((~was & now).sum()),
        no_longer=int((was & ~now).sum()),
        neither=int((~was & ~now).sum()),
    )


def _sum_confidence(ads: pd.DataFrame) -> ConfidenceSum:
    both = ads[["confidence_a", "confidence_b"]].dropna().astype(float)
    return ConfidenceSum(
        num=len(both),
        sums_a=[float(both["confidence_a"].sum())],
        sums_b=[float(both["confidence_b"].sum())],
    )


def _transitions(ads: pd.DataFrame) -> list[Transition]:
    """Count each pair of labels, with the ads of which both runs were most sure."""
    transitions = []
    certainty = ads[["confidence_a", "confidence_b"]].min(axis=1, skipna=False).fillna(0)
    order = np.lexsort([ads["ad_id"], -certainty])
    for labels, group in ads.iloc[order].groupby(["label_a", "label_b"], sort=False):
        surest = group.head(EXAMPLES_PER_TRANSITION).to_dict("records")
        transition = Transition(
            label_a=str(labels[0]),
            label_b=str(labels[1]),
            count=len(group),
            examples=[_example(ad) for ad in surest],
        )
        transitions.append(transition)
    return transitions


def _ood_examples(ads: pd.DataFrame, distance: str) -> list[OodExample]:
    ads = ads.sort_values([distance, "ad_id"], ascending=[False, True]).head(
        NUM_OOD_EXAMPLES
    )
    examples = []
    for ad in ads.to_dict("records"):
        example = OodExample(
            **dict(_example(ad)),
            label_a=ad["label_a"],
            label_b=ad["label_b"],
            distance=_number(ad[distance]),
        )
        examples.append(example)
    return examples


def _example(ad: Mapping[Hashable, Any]) -> Example:
    return Example(
        ad_id=ad["ad_id"],
        confidence_a=_number(ad["confidence_a"]),
        confidence_b=_number(ad["confidence_b"]),
        same_text=ad["text_key_a"] == ad["text_key_b"],
    )


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _merged(transitions: Iterable[Transition]) -> list[Transition]:
    """Add up the transitions between the same labels; the surest examples remain."""
    found: dict[tuple[str, str], Transition] = {}
    for transition in transitions:
        pair = (transition.label_a, transition.label_b)
        if pair in found:
            older = found[pair]
            examples = sorted(older.examples + transition.examples, key=_surest_first)
            update = {
                "count": older.count + transition.count,
                "examples": examples[:EXAMPLES_PER_TRANSITION],
            }
            transition = older.model_copy(update=update)
        found[pair] = transition
    return list(found.values())


def _surest_first(example: Example) -> tuple[float, str]:
    return -min(example.confidence_a or 0, example.confidence_b or 0), example.ad_id


def _farthest(examples: Iterable[OodExample]) -> list[OodExample]:
    return sorted(examples, key=_farthest_first)[:NUM_OOD_EXAMPLES]


def _farthest_first(example: OodExample) -> tuple[float, str]:
    return -(example.distance or 0), example.ad_id

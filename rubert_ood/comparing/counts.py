"""What differs between two runs, A and B, of the same ads: counts that add up over partitions, and
a few examples.

An id that occurs more than once in A or in B has no one partner: its rows are left out of the
comparison, in both, and counted as repeated.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from rubert_ood.ood.decision import OTHER

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


def count_partition(rows: pa.Table) -> dict[str, Any]:
    """Compare the rows, of ROW_SCHEMA, whose ids fall into one partition."""
    frame = rows.to_pandas()
    a = frame[~frame["in_b"]].drop(columns="in_b")
    b = frame[frame["in_b"]].drop(columns="in_b")
    repeated = pd.Index(
        pd.concat([side.loc[side["ad_id"].duplicated(), "ad_id"] for side in (a, b)]).unique()
    )
    ones_a = a[~a["ad_id"].isin(repeated)]
    ones_b = b[~b["ad_id"].isin(repeated)]
    ads = ones_a.merge(ones_b, on="ad_id", suffixes=("_a", "_b")).sort_values(
        "ad_id", ignore_index=True
    )
    changed = ads["label_a"] != ads["label_b"]
    same_text = ads["text_key_a"] == ads["text_key_b"]
    sure = ads[["confidence_a", "confidence_b"]].notna().all(axis=1)
    only_a = ones_a[~ones_a["ad_id"].isin(ads["ad_id"])]
    only_b = ones_b[~ones_b["ad_id"].isin(ads["ad_id"])]
    was, now = ads["is_ood_a"].astype(bool), ads["is_ood_b"].astype(bool)
    return {
        "rows": {"a": len(a), "b": len(b)},
        "repeated": {
            "ids": len(repeated),
            "rows_a": len(a) - len(ones_a),
            "rows_b": len(b) - len(ones_b),
        },
        "ads": {"both": len(ads), "only_a": len(only_a), "only_b": len(only_b)},
        "texts": {
            "same": int(same_text.sum()),
            "same_label_changed": int((same_text & changed).sum()),
            "changed": int((~same_text).sum()),
            "changed_label_changed": int((~same_text & changed).sum()),
        },
        "ood": _before_and_after(was, now),
        "other": _before_and_after(ads["label_a"] == OTHER, ads["label_b"] == OTHER),
        "confidence": {
            "num": int(sure.sum()),
            "sums_a": [float(ads.loc[sure, "confidence_a"].astype(float).sum())],
            "sums_b": [float(ads.loc[sure, "confidence_b"].astype(float).sum())],
        },
        "transitions": _transitions(ads[changed]),
        "stayed": ads.loc[~changed, "label_a"].value_counts().to_dict(),
        "only_a": only_a["label"].value_counts().to_dict(),
        "only_b": only_b["label"].value_counts().to_dict(),
        "became_ood": _furthest(ads[~was & now], "ood_distance_b"),
        "no_longer_ood": _furthest(ads[was & ~now], "ood_distance_a"),
    }


def _before_and_after(was: pd.Series, now: pd.Series) -> dict[str, int]:
    sides = {
        "both": was & now,
        "became": ~was & now,
        "no_longer": was & ~now,
        "neither": ~was & ~now,
    }
    return {name: int(side.sum()) for name, side in sides.items()}


def _transitions(ads: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return from -> to -> {count, examples}: the ads of which both runs were most sure."""
    found: dict[str, dict[str, Any]] = {}
    certainty = ads[["confidence_a", "confidence_b"]].min(axis=1, skipna=False).fillna(0)
    order = np.lexsort([ads["ad_id"], -certainty])
    for (label_a, label_b), group in ads.iloc[order].groupby(["label_a", "label_b"], sort=False):
        examples = [_example(ad) for ad in group.head(EXAMPLES_PER_TRANSITION).to_dict("records")]
        found.setdefault(str(label_a), {})[str(label_b)] = {
            "count": len(group),
            "examples": examples,
        }
    return found


def _furthest(ads: pd.DataFrame, distance: str) -> list[dict[str, Any]]:
    ads = ads.sort_values([distance, "ad_id"], ascending=[False, True]).head(NUM_OOD_EXAMPLES)
    return [
        _example(ad)
        | {"from": ad["label_a"], "to": ad["label_b"], "distance": _number(ad[distance])}
        for ad in ads.to_dict("records")
    ]


def _example(ad: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        "ad_id": ad["ad_id"],
        "confidence_a": _number(ad["confidence_a"]),
        "confidence_b": _number(ad["confidence_b"]),
        "same_text": ad["text_key_a"] == ad["text_key_b"],
    }


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def add_partition(total: dict[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Add a partition to the sum of others, an empty dict at first; as many examples remain as one
    partition has."""
    total = _added(total, part)
    for to in total["transitions"].values():
        for entry in to.values():
            entry["examples"] = sorted(entry["examples"], key=_least_sure_last)[
                :EXAMPLES_PER_TRANSITION
            ]
    for name in ("became_ood", "no_longer_ood"):
        furthest = sorted(total[name], key=lambda ad: (-(ad["distance"] or 0), ad["ad_id"]))
        total[name] = furthest[:NUM_OOD_EXAMPLES]
    return total


def _added(total: Any, part: Any) -> Any:
    if isinstance(part, Mapping):
        return {
            **total,
            **{
                name: _added(total[name], part[name]) if name in total else part[name]
                for name in part
            },
        }
    return total + part


def _least_sure_last(example: Mapping[str, Any]) -> tuple[float, str]:
    return -min(example["confidence_a"] or 0, example["confidence_b"] or 0), example["ad_id"]


def summary(total: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the sum over all partitions into the difference as diff.json holds it; rates are null
    without ads."""
    both, texts, confidence = total["ads"]["both"], total["texts"], total["confidence"]
    changed = texts["same_label_changed"] + texts["changed_label_changed"]
    means = {
        side: _share(math.fsum(confidence[f"sums_{side}"]), confidence["num"])
        for side in ("a", "b")
    }
    return {
        "ads": total["ads"],
        "repeated": total["repeated"],
        "changed": changed,
        "churn_rate": _share(changed, both),
        "texts": texts
        | {
            "same_churn_rate": _share(texts["same_label_changed"], texts["same"]),
            "changed_churn_rate": _share(texts["changed_label_changed"], texts["changed"]),
        },
        "transitions": _transition_list(total["transitions"]),
        "ood": total["ood"]
        | {"became_examples": total["became_ood"], "no_longer_examples": total["no_longer_ood"]},
        "other": total["other"],
        "confidence": {
            "num": confidence["num"],
            "mean_a": means["a"],
            "mean_b": means["b"],
            "mean_change": means["b"] - means["a"]
            if means["a"] is not None and means["b"] is not None
            else None,
        },
        "labels": _label_list(total),
    }


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _transition_list(transitions: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List the transitions, most frequent first."""
    rows = [
        {"from": label_a, "to": to, **entry}
        for label_a, row in transitions.items()
        for to, entry in row.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["from"], row["to"]))


def _label_list(total: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Count each label: in_a = stayed + left + only_a, in_b = stayed + joined + only_b; most ads
    first."""
    left = {
        label: sum(entry["count"] for entry in row.values())
        for label, row in total["transitions"].items()
    }
    joined: dict[str, int] = {}
    for row in total["transitions"].values():
        for label, entry in row.items():
            joined[label] = joined.get(label, 0) + entry["count"]
    counts = {"stayed": total["stayed"], "left": left, "joined": joined}
    counts |= {"only_a": total["only_a"], "only_b": total["only_b"]}
    rows = []
    for label in set().union(*counts.values()):
        row = {name: count.get(label, 0) for name, count in counts.items()}
        in_a = row["stayed"] + row["left"] + row["only_a"]
        in_b = row["stayed"] + row["joined"] + row["only_b"]
        rows.append({"label": label, "in_a": in_a, "in_b": in_b, **row})
    return sorted(rows, key=lambda row: (-row["in_a"] - row["in_b"], row["label"]))

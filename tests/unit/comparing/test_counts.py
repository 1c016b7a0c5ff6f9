"""Counts of a diff and their summary against a plain loop over dictionaries, however the rows are
cut into partitions."""

import json
from collections import Counter
from statistics import fmean

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubert_ood import storage
from rubert_ood.comparing.counts import (
    EXAMPLES_PER_TRANSITION,
    NUM_OOD_EXAMPLES,
    ROW_SCHEMA,
    Counts,
    count_partition,
)
from rubert_ood.comparing.document import Side
from rubert_ood.comparing.summary import summary
from rubert_ood.runs.plan import BundleName

LABELS = ["Мебель", "Шины", "Other"]
SIDE = Side(
    rows=0,
    run_uri="/out/r",
    run_id="r",
    run_date="2026-11-24",
    bundle=BundleName(fingerprint="f"),
    outcome="published",
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "ad_id": st.sampled_from(
                ["1", "01", "а", "А", " ", "'; DROP", "<b>", "x" * 50, "9", "10"]
            ),
            "label": st.sampled_from(LABELS),
            "confidence": st.one_of(st.none(), st.sampled_from([0.25, 0.5, 0.75])),
            "is_ood": st.booleans(),
            "ood_distance": st.sampled_from([1.0, 2.0, 4.0]),
            "text_key": st.sampled_from(["k1", "k2"]),
            "in_b": st.booleans(),
        }
    ),
    max_size=24,
)


def _diff(ads: list[dict], num_partitions: int) -> dict:
    """Partition by id, as Ray does, add up what the partitions say after a trip through JSON, and
    read diff.json."""
    total = count_partition(ROW_SCHEMA.empty_table())
    for number in range(num_partitions):
        part = [ad for ad in ads if sum(ad["ad_id"].encode()) % num_partitions == number]
        counts = count_partition(pa.Table.from_pylist(part, schema=ROW_SCHEMA))
        total = total + Counts.model_validate_json(counts.model_dump_json(by_alias=True))
    return json.loads(storage.to_json(summary(SIDE, SIDE, total)))


def _by_hand(ads: list[dict]) -> dict:
    copies = Counter((ad["ad_id"], ad["in_b"]) for ad in ads)
    repeated = {ad_id for (ad_id, _), count in copies.items() if count > 1}
    a, b = (
        {
            ad["ad_id"]: ad
            for ad in ads
            if ad["in_b"] is side and ad["ad_id"] not in repeated
        }
        for side in (False, True)
    )
    pairs = {ad_id: (a[ad_id], b[ad_id]) for ad_id in a.keys() & b.keys()}
    changed = {
        ad_id: pair
        for ad_id, pair in pairs.items()
        if pair[0]["label"] != pair[1]["label"]
    }
    same_text = {
        ad_id for ad_id, (was, now) in pairs.items() if was["text_key"] == now["text_key"]
    }
    sure = [(was["confidence"], now["confidence"]) for was, now in pairs.values()]
    sure = [pair for pair in sure if None not in pair]
    return {
        "ads": {
            "both": len(pairs),
            "only_a": len(a.keys() - b.keys()),
            "only_b": len(b.keys() - a.keys()),
        },
        "repeated": (
            len(repeated),
            sum(ad["ad_id"] in repeated for ad in ads if not ad["in_b"]),
            sum(ad["ad_id"] in repeated for ad in ads if ad["in_b"]),
        ),
        "changed": len(changed),
        "texts": (
            len(same_text),
            len(same_text & changed.keys()),
            len(pairs.keys() - same_text),
            len(changed.keys() - same_text),
        ),
        "ood": Counter((was["is_ood"], now["is_ood"]) for was, now in pairs.values()),
        "other": Counter(
            (was["label"] == "Other", now["label"] == "Other")
            for was, now in pairs.values()
        ),
        "means": [fmean(side) for side in zip(*sure, strict=True)]
        if sure
        else [None, None],
        "transitions": Counter(
            (was["label"], now["label"]) for was, now in changed.values()
        ),
        "in_a": Counter(ad["label"] for ad in a.values()),
        "in_b": Counter(ad["label"] for ad in b.values()),
        "changed_pairs": changed,
    }


@given(rows, st.integers(1, 4))
def test_diff_counts_are_those_counted_by_hand(ads, num_partitions):
    found, expected = _diff(ads, num_partitions), _by_hand(ads)
    both = expected["ads"]["both"]
    assert found["ads"] == expected["ads"]
    assert tuple(found["repeated"].values()) == expected["repeated"]
    assert found["changed"] == expected["changed"]
    assert found["churn_rate"] == (expected["changed"] / both if both else None)
    names = ("same", "same_label_changed", "changed", "changed_label_changed")
    assert tuple(found["texts"][name] for name in names) == expected["texts"]
    sides = {
        "both": (True, True),
        "became": (False, True),
        "no_longer": (True, False),
        "neither": (False, False),
    }
    for flag in ("ood", "other"):
        assert {name: found[flag][name] for name in sides} == {
            n: expected[flag][side] for n, side in sides.items()
        }
    assert [found["confidence"][f"mean_{side}"] for side in "ab"] == pytest.approx(
        expected["means"]
    )
    assert {
        (row["from"], row["to"]): row["count"] for row in found["transitions"]
    } == expected["transitions"]
    assert [row["count"] for row in found["transitions"]] == sorted(
        expected["transitions"].values(), reverse=True
    )
    for row in found["labels"]:
        assert (row["in_a"], row["in_b"]) == (
            expected["in_a"][row["label"]],
            expected["in_b"][row["label"]],
        )
        assert row["in_a"] == row["stayed"] + row["left"] + row["only_a"]
        assert row["in_b"] == row["stayed"] + row["joined"] + row["only_b"]
    assert {row["label"] for row in found["labels"]} == expected[
        "in_a"
    ].keys() | expected["in_b"].keys()
    for row in found["transitions"]:
        ids = [ad_id for ad_id, (was, now) in expected["changed_pairs"].items()
               if (was["label"], now["label"]) == (row["from"], row["to"])]  # fmt: skip
        certainty = {
            i: min(ad["confidence"] or 0 for ad in expected["changed_pairs"][i])
            for i in ids
        }
        best = sorted(ids, key=lambda ad_id: (-certainty[ad_id], ad_id))[
            :EXAMPLES_PER_TRANSITION
        ]
        assert [example["ad_id"] for example in row["examples"]] == best


def test_the_farthest_of_many_are_named_with_what_they_were_and_became():
    ads = []
    for number in range(100):
        shared = {"ad_id": f"{number:03d}", "confidence": 0.5, "text_key": "k"}
        was_ood = number % 2 == 1
        ads.append(
            {
                **shared,
                "label": "Шины",
                "is_ood": was_ood,
                "ood_distance": 1.0 * number,
                "in_b": False,
            }
        )
        ads.append(
            {
                **shared,
                "label": "Other",
                "is_ood": not was_ood,
                "ood_distance": 1000.0 - number,
                "in_b": True,
            }
        )
    ood = _diff(ads, 3)["ood"]
    assert (ood["became"], ood["no_longer"]) == (50, 50)
    assert [ad["ad_id"] for ad in ood["became_examples"]] == [
        f"{2 * n:03d}" for n in range(NUM_OOD_EXAMPLES)
    ]
    assert [ad["ad_id"] for ad in ood["no_longer_examples"]] == [
        f"{99 - 2 * n:03d}" for n in range(NUM_OOD_EXAMPLES)
    ]
    first = ood["became_examples"][0]
    assert (first["from"], first["to"], first["distance"], first["same_text"]) == (
        "Шины",
        "Other",
        1000.0,
        True,
    )

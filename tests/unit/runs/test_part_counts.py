"""Counts of a part, against a count row by row."""

from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from rubert_ood.runs.part_counts import (
    CONFIDENCE_BINS,
    PART_COLUMNS,
    PartCounts,
    part_counts,
    reason_counts,
)

KINDS = {
    "ad_id": pa.string(),
    "label": pa.string(),
    "confidence": pa.float32(),
    "is_ood": pa.bool_(),
    "status": pa.string(),
    "num_tokens": pa.int32(),
    "is_cut": pa.bool_(),
    "text_key": pa.string(),
}
SCHEMA = pa.schema(list(KINDS.items()))


ROW = {
    "ad_id": "1",
    "label": "Шины",
    "confidence": 0.5,
    "is_ood": False,
    "status": "ok",
    "num_tokens": 97,
    "is_cut": False,
    "text_key": "a",
}


@st.composite
def _rows(draw) -> dict:
    is_empty = draw(st.booleans())
    key = "" if is_empty else draw(st.sampled_from("abcd"))
    return {
        "ad_id": draw(st.text(max_size=3)),
        "label": "Other" if is_empty else draw(st.sampled_from(["Шины", "Мебель"])),
        "confidence": None if is_empty else draw(st.floats(0, 1, width=32)),
        "is_ood": not is_empty and draw(st.booleans()),
        "status": "empty" if is_empty else "ok",
        "num_tokens": 0 if is_empty else ord(key),  # a text has one length
        "is_cut": not is_empty and draw(st.booleans()),
        "text_key": key,
    }


def _part(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA)


def _bin(confidence: float) -> int:
    """Number of the last edge that is not above, as float32 has it, like the confidence."""
    edges = np.float32([number / CONFIDENCE_BINS for number in range(CONFIDENCE_BINS)])
    return int(np.flatnonzero(np.float32(confidence) >= edges)[-1])


def _hash(ad_id: str) -> int:
    return int(pd.util.hash_array(pd.Series([ad_id], dtype=object).to_numpy())[0])


@given(st.lists(_rows(), max_size=12))
@example([ROW | {"confidence": float(np.float32(0.95))}])
def test_part_counts_are_those_of_a_count_row_by_row(rows):
    histogram = [0] * CONFIDENCE_BINS
    lengths = {}
    for row in rows:
        lengths[row["text_key"]] = row["num_tokens"]
        if row["confidence"] is not None:
            histogram[_bin(row["confidence"])] += 1
    assert part_counts(_part(rows)).model_dump() == {
        "rows_scored": len(rows),
        "rows_empty": sum(row["status"] == "empty" for row in rows),
        "rows_ood": sum(row["is_ood"] for row in rows),
        "rows_cut": sum(row["is_cut"] for row in rows),
        "classes": Counter(row["label"] for row in rows),
        "confidence_histogram": histogram,
        "unique_texts": len(lengths),
        "tokens": sum(row["num_tokens"] for row in rows),
        "unique_tokens": sum(lengths.values()),
        "ids_out": sum(_hash(row["ad_id"]) for row in rows) % 2**64,
        "scored_in": {},
    }


def test_part_counts_count_rows_by_the_run_that_scored_them():
    runs = ["a", "b", "a", "a"]
    rows = [
        dict.fromkeys(KINDS) | {"ad_id": "1", "num_tokens": 1, "text_key": "k"}
        for _ in runs
    ]
    part = _part([row | {"label": "x"} for row in rows])
    part = part.append_column("scored_in", pa.array(runs))
    assert part_counts(part).scored_in == {"a": 3, "b": 1}


@pytest.mark.parametrize(
    ("confidence", "number"),
    [(0.0, 0), (0.0499, 0), (0.25, 5), (0.5, 10), (0.9499, 18), (0.9501, 19), (1.0, 19)],
)
def test_part_counts_put_a_confidence_into_the_bin_that_begins_at_or_below_it(
    confidence, number
):
    row = dict.fromkeys(KINDS)
    row |= {"ad_id": "1", "confidence": confidence, "num_tokens": 1, "text_key": "a"}
    histogram = part_counts(_part([row | {"label": "x"}])).confidence_histogram
    assert [n for n, count in enumerate(histogram) if count] == [number]


def test_part_counts_do_not_depend_on_the_chunks_of_the_part():
    rows = [
        {
            "ad_id": str(n),
            "label": "Шины",
            "confidence": n / 10,
            "is_ood": n % 2 == 0,
            "status": "ok",
            "num_tokens": n,
            "is_cut": False,
            "text_key": str(n),
        }
        for n in range(10)
    ]
    whole = _part(rows)
    pieces = pa.concat_tables([whole[:3], whole[3:3], whole[3:]])
    assert pieces["label"].num_chunks == 3
    assert part_counts(pieces) == part_counts(whole)


def test_part_columns_are_all_that_part_counts_reads():
    part = _part([]).append_column("embedding", pa.array([], pa.float32()))
    assert part_counts(part.select(PART_COLUMNS)) == part_counts(part)
    assert sorted(PART_COLUMNS) == sorted(KINDS)


def test_reason_counts_count_each_reason():
    reasons = ["ad_id is null", "title is not UTF-8", "ad_id is null"]
    assert reason_counts(pa.table({"reason": reasons})) == {
        "ad_id is null": 2,
        "title is not UTF-8": 1,
    }
    assert reason_counts(pa.table({"reason": pa.array([], pa.string())})) == {}


@pytest.mark.parametrize("bins", [0, CONFIDENCE_BINS - 1, CONFIDENCE_BINS + 1])
def test_part_counts_of_another_number_of_bins_are_refused(bins):
    counts = part_counts(_part([])).model_dump()
    with pytest.raises(ValidationError, match="confidence_histogram"):
        PartCounts.model_validate(counts | {"confidence_histogram": [0] * bins})

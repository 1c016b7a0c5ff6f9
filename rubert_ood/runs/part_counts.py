"""What can be counted of a part alone: once for its receipt, and again when it is verified."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from rubert_ood.runs.part import DIGEST_MODULUS, STATUS_EMPTY, ids_digest
from rubert_ood.runs.record import Count, Record

CONFIDENCE_BINS = 20
PART_COLUMNS = [
    "ad_id",
    "label",
    "confidence",
    "is_ood",
    "status",
    "num_tokens",
    "is_cut",
    "text_key",
]
"""What is counted of a part."""
LATER_COLUMNS = ["scored_in"]
"""What is counted where it is there: older parts lack it."""
COUNTED_COLUMNS = [*PART_COLUMNS, *LATER_COLUMNS]
ADDED = ("rows_scored", "rows_empty", "rows_ood", "rows_cut", "tokens", "ids_out")
"""Numbers that add up."""


class RowCounts(Record):
    """What can be counted again from any rows, and adds up."""

    rows_scored: Count
    rows_empty: Count
    rows_ood: Count
    rows_cut: Count
    classes: dict[str, Count]
    confidence_histogram: list[Count] = Field(
        min_length=CONFIDENCE_BINS, max_length=CONFIDENCE_BINS
    )
    tokens: Count
    ids_out: Count
    scored_in: dict[str, Count] = Field({})
    """Rows by the run whose network computed their result; older parts do not say."""


class PartCounts(RowCounts):
    """What can be counted again from the part alone."""

    unique_texts: Count
    unique_tokens: Count


def part_counts(part: pa.Table) -> PartCounts:
    """Count what the columns PART_COLUMNS tell."""
    tokens = part["num_tokens"].to_numpy()
    _, first = np.unique(part["text_key"].to_numpy(), return_index=True)
    return PartCounts(
        **dict(row_counts(part)),
        unique_texts=len(first),
        unique_tokens=int(tokens[first].sum()),
    )


def row_counts(part: pa.Table) -> RowCounts:
    """Count what adds up."""
    confidence = part["confidence"].drop_null().to_numpy()
    return RowCounts(
        rows_scored=part.num_rows,
        rows_empty=pc.sum(pc.equal(part["status"], STATUS_EMPTY)).as_py() or 0,
        rows_ood=pc.sum(part["is_ood"]).as_py() or 0,
        rows_cut=pc.sum(part["is_cut"]).as_py() or 0,
        classes=_counts(part["label"]),
        confidence_histogram=np.histogram(confidence, CONFIDENCE_BINS, (0.0, 1.0))[
            0
        ].tolist(),
        tokens=int(part["num_tokens"].to_numpy().sum()),
        ids_out=ids_digest(part["ad_id"]),
        scored_in=_counts(part["scored_in"]) if _says_where(part) else {},
    )


def _says_where(part: pa.Table) -> bool:
    return "scored_in" in part.schema.names


def add_counts(counts: Iterable[RowCounts]) -> RowCounts:
    """Add up the counts of several parts, or of pieces of a file."""
    numbers = Counter[str]()
    classes, scored_in = Counter[str](), Counter[str]()
    histogram = np.zeros(CONFIDENCE_BINS, np.int64)
    for one in counts:
        numbers.update({name: getattr(one, name) for name in ADDED})
        classes.update(one.classes)
        scored_in.update(one.scored_in)
        histogram += one.confidence_histogram
    sums = {name: numbers[name] for name in ADDED}
    sums["ids_out"] %= DIGEST_MODULUS
    return RowCounts(
        **sums,
        classes=dict(classes),
        confidence_histogram=histogram.tolist(),
        scored_in=dict(scored_in),
    )


def reason_counts(rejected: pa.Table) -> dict[str, int]:
    """Count the reasons of rejected rows."""
    return _counts(rejected["reason"])


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {
        item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()
    }

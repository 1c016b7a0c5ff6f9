"""What can be counted of a part alone: once for its receipt, and again when it is verified."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from rubert_ood.runs.part import STATUS_EMPTY, ids_digest
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


class PartCounts(Record):
    """What can be counted again from the part alone."""

    rows_scored: Count
    rows_empty: Count
    rows_ood: Count
    rows_cut: Count
    classes: dict[str, Count]
    confidence_histogram: list[Count] = Field(
        min_length=CONFIDENCE_BINS, max_length=CONFIDENCE_BINS
    )
    unique_texts: Count
    tokens: Count
    unique_tokens: Count
    ids_out: Count
    scored_in: dict[str, Count] = Field({})
    """Rows by the run whose network computed their result; older parts do not say."""


def part_counts(part: pa.Table) -> PartCounts:
    """Count what the columns PART_COLUMNS tell."""
    confidence = part["confidence"].drop_null().to_numpy()
    tokens = part["num_tokens"].to_numpy()
    _, first = np.unique(part["text_key"].to_numpy(), return_index=True)
    return PartCounts(
        rows_scored=part.num_rows,
        rows_empty=pc.sum(pc.equal(part["status"], STATUS_EMPTY)).as_py() or 0,
        rows_ood=pc.sum(part["is_ood"]).as_py() or 0,
        rows_cut=pc.sum(part["is_cut"]).as_py() or 0,
        classes=_counts(part["label"]),
        confidence_histogram=np.histogram(confidence, CONFIDENCE_BINS, (0.0, 1.0))[
            0
        ].tolist(),
        unique_texts=len(first),
        tokens=int(tokens.sum()),
        unique_tokens=int(tokens[first].sum()),
        ids_out=ids_digest(part["ad_id"]),
        scored_in=_counts(part["scored_in"]) if _says_where(part) else {},
    )


def _says_where(part: pa.Table) -> bool:
    return "scored_in" in part.schema.names


def reason_counts(rejected: pa.Table) -> dict[str, int]:
    """Count the reasons of rejected rows."""
    return _counts(rejected["reason"])


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {
        item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()
    }

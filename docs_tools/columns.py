"""The page of the columns: names and types from the schema of a part, and what each one means."""

import pyarrow as pa

from rubert_ood.runs.part import ERROR_SCHEMA, part_schema

MEANING = {
    "ad_id": "id of the ad, as text",
    "label": "a class, or `Other`: out of domain, or less sure than `tau_other`",
    "confidence": "probability of the best class, calibrated: softmax(logits / T)",
    "topk_labels": "the `top_k` best classes, whatever the label",
    "topk_scores": "their probabilities",
    "is_ood": "out of domain: far from every class, and not confident",
    "ood_distance": "d2, the squared Mahalanobis distance to the nearest class",
    "ood_z": "d2 in standard deviations of the calibration ads",
    "ood_p": "conformal p-value: share of calibration ads at least as far",
    "status": "`ok`, or `empty`: nothing to read, so the label is `Other`, without scores",
    "num_tokens": "tokens that were read; overlaps of windows count once",
    "num_chunks": "windows that were read",
    "is_cut": "whether the end of the ad was left out",
    "text_key": "the same for the same cleaned text, in every run",
    "scored_in": "id of the run whose network computed the result; an earlier one if reused",
    "sub_label": "the finer class inside the label; only if the bundle has sub-heads",
    "sub_confidence": "its probability",
    "embedding": "CLS vector, the mean over windows; only with `--embedding`",
}
REJECTED = {
    "file": "of the input",
    "row": "in the file, from 0",
    "ad_id": "as far as it can be read",
    "reason": "why the row was not scored",
}
HEAD = """# Columns

## Predictions

`data-*.parquet` of a run has one row for each scored ad. Columns named in `carry_columns`
stand behind these, as they are in the input. `Model.predict` gives the same rows, without
`scored_in`.
"""
TAIL = """
## Rejected rows

`_errors/*.rejected` is Parquet too, under a name that no reader of ads takes.
"""


def columns_page() -> str:
    """Return the columns of predictions and of rejected rows."""
    schema = part_schema([], 768, {}, subheads=True)
    lines = [HEAD, *_table(schema, MEANING), TAIL, *_table(ERROR_SCHEMA, REJECTED)]
    return "\n".join(lines) + "\n"


def _table(schema: pa.Schema, meaning: dict[str, str]) -> list[str]:
    lines = ["| column | type | |", "|---|---|---|"]
    for field in schema:
        kind = str(field.type).replace("<", "&lt;").replace("element: ", "")
        kind = kind.replace("[768]", "[H]")
        lines.append(f"| `{field.name}` | {kind} | {meaning[field.name]} |")
    return lines

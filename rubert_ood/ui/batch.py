"""Many ads at once: the rows of `predict`, and the same as CSV to download."""

import csv
import io
from dataclasses import dataclass

import pyarrow as pa

from rubert_ood.plain import safe_cell
from rubert_ood.predictor import Model
from rubert_ood.ui.uploads import GivenRow

BAD = "bad row"
COLUMNS = (
    "label",
    "confidence",
    "is_ood",
    "ood_distance",
    "ood_z",
    "ood_p",
    "status",
    "num_tokens",
    "is_cut",
)
SUB_COLUMNS = ("sub_label", "sub_confidence")


@dataclass(frozen=True)
class ScoredRow:
    """An ad of a file, and what `predict` says of it; nothing where it could not be read."""

    given: GivenRow
    result: dict[str, object]

    @property
    def is_bad(self) -> bool:
        """Whether it could not be read."""
        return bool(self.given.problem)


def score_rows(model: Model, rows: list[GivenRow]) -> list[ScoredRow]:
    """Classify the rows that can be read, together, in their order."""
    good = [row for row in rows if not row.problem]
    texts = pa.array([row.text for row in good], pa.string())
    table = model.predict(pa.table({"description": texts}))
    results = iter(table.to_pylist())
    scored = []
    for row in rows:
        scored.append(ScoredRow(row, {} if row.problem else next(results)))
    return scored


def as_csv(rows: list[ScoredRow]) -> str:
    """Write one line for each ad: its number, id, what was decided, and what is wrong with it.

    The texts are left out, and no cell acts as a formula in a spreadsheet.
    """
    columns = list(COLUMNS)
    if any(name in row.result for row in rows for name in SUB_COLUMNS):
        columns += SUB_COLUMNS
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["row", "ad_id", *columns, "problem"])
    for row in rows:
        cells = [row.result.get(name) for name in columns]
        status = columns.index("status")
        cells[status] = cells[status] or BAD
        given = row.given
        writer.writerow(
            [given.number, safe_cell(given.ad_id), *map(_cell, cells), given.problem]
        )
    return file.getvalue()


def _cell(value: object) -> object:
    return safe_cell(value) if isinstance(value, str) else value

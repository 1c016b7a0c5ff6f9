"""The CSV of an export, for those who label in a spreadsheet."""

import csv
import io

from rubert_ood.annotating.document import Export
from rubert_ood.plain import safe_cell

COLUMNS = (
    "task",
    "key",
    "title",
    "description",
    "city",
    "answer",
    "sub_answer",
    "annotator",
)


KEY_MARK = "ad-"
"""Before a key: spreadsheets take one of digits alone, or with an e among them, for a number, and
round it."""


def sheet(export: Export) -> bytes:
    """Return the tasks as CSV in UTF-8 with its mark, which spreadsheets want; the answers are
    empty.

    A text that would be a formula has an apostrophe in front. What comes back is read by its key,
    so the labelled ads have the text as it was.
    """
    sink = io.StringIO(newline="")
    rows = csv.writer(sink)
    rows.writerow(COLUMNS)
    for task in export.tasks:
        texts = map(safe_cell, (task.title, task.description, task.city))
        rows.writerow([task.task, f"{KEY_MARK}{task.key}", *texts, "", "", ""])
    return sink.getvalue().encode("utf-8-sig")

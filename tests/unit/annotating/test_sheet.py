"""The CSV of an export: what spreadsheets take, and no cell that they compute."""

import csv
import io

from rubert_ood.annotating.document import Export, Task
from rubert_ood.annotating.sheet import COLUMNS, sheet
from rubert_ood.runs.plan import BundleName


def _export(*tasks: Task) -> Export:
    return Export(
        name="first",
        created_at="2026-11-24T02:00:00+00:00",
        code_version="0.4.0",
        run_uri="/out/run",
        run_id="x",
        run_date="2026-11-24",
        bundle=BundleName(fingerprint="b" * 64),
        labels=["Шины"],
        num_rows=2,
        num_eligible=2,
        num_drawn=0,
        taken={},
        skipped={},
        tasks=list(tasks),
    )


def _task(number: int, title: str, description: str) -> Task:
    return Task(
        task=number,
        key=f"{number:016x}",
        ad_id=str(number),
        title=title,
        description=description,
        kind="random",
        label="Шины",
        best="Шины",
    )


def test_sheet_has_a_row_for_each_task_with_empty_answers_and_no_formula():
    tasks = (_task(1, "=HYPERLINK(1)", "Шины;\n4 штуки"), _task(2, "Диски", "@sum"))
    data = sheet(_export(*tasks))
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert data.startswith(b"\xef\xbb\xbf")
    assert list(rows[0]) == list(COLUMNS)
    assert [row["title"] for row in rows] == ["'=HYPERLINK(1)", "Диски"]
    assert [row["description"] for row in rows] == ["Шины;\n4 штуки", "'@sum"]
    assert [row["key"] for row in rows] == [task.key for task in tasks]
    assert {row["answer"] + row["sub_answer"] + row["annotator"] for row in rows} == {""}

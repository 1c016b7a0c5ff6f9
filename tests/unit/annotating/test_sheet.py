"""The CSV of an export: what spreadsheets take, and no cell that they compute."""

import csv
import io

from rubert_ood.annotating.answers import read_answers
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


def _is_number(cell: str) -> bool:
    """Say whether a spreadsheet would take a cell for a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_answers_of_a_sheet_are_read_by_their_keys_with_the_mark_and_without(tmp_path):
    tasks = (_task(1, "Шины", "4 штуки"), _task(2, "Диски", "16"))
    (tmp_path / "new.csv").write_bytes(sheet(_export(*tasks)))
    older = sheet(_export(*tasks)).replace(b"ad-", b"")
    (tmp_path / "old.csv").write_bytes(older)
    for name in ("new.csv", "old.csv"):
        answers = read_answers(str(tmp_path / name))
        assert [answer.key for answer in answers] == [task.key for task in tasks]


def test_sheet_has_a_row_for_each_task_with_empty_answers_and_no_formula():
    tasks = (_task(1, "=HYPERLINK(1)", "Шины;\n4 штуки"), _task(2, "Диски", "@sum"))
    data = sheet(_export(*tasks))
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert data.startswith(b"\xef\xbb\xbf")
    assert list(rows[0]) == list(COLUMNS)
    assert [row["title"] for row in rows] == ["'=HYPERLINK(1)", "Диски"]
    assert [row["description"] for row in rows] == ["Шины;\n4 штуки", "'@sum"]
    assert [row["key"] for row in rows] == [f"ad-{task.key}" for task in tasks]
    assert not any(_is_number(row["key"]) for row in rows)
    assert {row["answer"] + row["sub_answer"] + row["annotator"] for row in rows} == {""}

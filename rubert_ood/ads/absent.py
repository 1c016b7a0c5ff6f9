"""What ads are read without, where a table lacks a column that it may lack: a column under another
name looks the same, so it is said."""

from collections.abc import Iterable, Mapping, Sequence

from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.settings import ColumnSettings

WITHOUT = {
    "title": "reads the ads of {} without a title",
    "city": "learns no city names from {}",
}
"""What is lost, by role."""


def warn_of_absent(
    files: Sequence[Mapping[str, str]],
    columns: ColumnSettings,
    *,
    roles: Iterable[str] = ("title",),
    step: str = "data",
) -> None:
    """Say how many of some files, each its columns by role, lack a column.

    Nothing where the setting is null, which says that there is none.
    """
    for role in roles:
        name = getattr(columns, role)
        num_without = sum(role not in file for file in files)
        if name is None or not num_without:
            continue
        some = f"{num_without:,} of {count_of(len(files), 'file')}"
        StepLog(step).warning(
            "%s: no column %r. Set columns.%s to the column that has it, or to null"
            " where there is none",
            WITHOUT[role].format(some),
            name,
            role,
        )


def warn_of_other_case(names: Iterable[str], columns: ColumnSettings) -> None:
    """Name the column of a table in a notebook that is nearly the title, and is not read."""
    name = nearly_the_title(names, columns)
    if name is not None:
        StepLog("predict").warning(
            "reads the ads without a title: the column is called %r, not %r."
            " Rename it, or pass columns",
            name,
            columns.title,
        )


def nearly_the_title(names: Iterable[str], columns: ColumnSettings) -> str | None:
    """Return the column whose name is that of the title but for case and spaces at its ends; None
    where the title itself is there."""
    names = list(names)
    wanted = columns.title
    if wanted is None or wanted in names:
        return None
    for name in names:
        if name.strip().casefold() == wanted.strip().casefold():
            return name
    return None

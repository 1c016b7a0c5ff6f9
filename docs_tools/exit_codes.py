"""The page of the exit codes: which errors end a job with which, and whether trying again helps."""

import inspect
from collections import defaultdict

from rubert_ood import cli, errors

MEANING = {
    0: ("done; `score` has published, or with `--no-publish` completed", "not needed"),
    1: ("a fault of ours, or `verify` found a file that does not match", "once"),
    2: ("a setting, a column, a bundle or the output is wrong", "no"),
    3: ("the input is missing, unreadable or empty, or a control file is damaged", "no"),
    4: ("too many rows were rejected or quarantined, or none was scored", "no"),
    5: (
        "refused: the gate, an older run, a run that was rolled back, or a promotion;"
        " what was made is kept",
        "no",
    ),
    6: ("stopped half-way: storage, cluster, or an input that changed", "**yes**"),
    cli.INTERRUPTED: ("interrupted by Ctrl-C", "**yes**"),
    cli.CLOSED_PIPE: ("nobody reads the output any more", "yes"),
    cli.TERMINATED: ("ended by SIGTERM", "**yes**"),
}
"""What each code says, and whether the same command helps."""
HEAD = """# Exit codes

Every error is one line on standard error. The [runbook](../runbook.md) has an entry for each.

| exit code | | does the same command help? | errors |
|---|---|---|---|
"""
TAIL = """
`ray job submit` flattens them to 0 or 1. `outcome` in `_run/manifest.json` of the run says what
happened in any case.

## Errors

In Python the same errors are raised; each carries its `exit_code`.

"""


def by_code() -> dict[int, list[type[errors.RubertOodError]]]:
    """Return the errors of the package by their exit code."""
    found = defaultdict(list)
    for _, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, errors.RubertOodError):
            found[error.exit_code].append(error)
    return found


def exit_codes_page() -> str:
    """Return the codes, and the errors behind them."""
    errors_of = by_code()
    lines = []
    for code, (words, again) in MEANING.items():
        links = [
            f"[{e.__name__}](#{e.__name__.lower()})" for e in errors_of.get(code, [])
        ]
        lines.append(f"| {code} | {words} | {again} | {', '.join(links)} |")
    page = HEAD + "\n".join(lines) + "\n" + TAIL
    for code, found in sorted(errors_of.items()):
        for error in found:
            page += (
                f"### {error.__name__}\n\n{inspect.getdoc(error)} Exit code {code}.\n\n"
            )
    return page

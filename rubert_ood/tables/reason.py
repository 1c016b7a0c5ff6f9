"""What a log may say of a failure in a library: never a value of an ad."""

import re

from rubert_ood.credentials import NOT_SHOWN, holds_credentials
from rubert_ood.errors import RubertOodError

PLAIN = ("sqlalchemy", "botocore", "pyiceberg", "deltalake", "_internal")
"""Packages whose own errors are of catalogs, stores and logs. `_internal` is deltalake's."""
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
CHARACTERS = 200


def reason_of(error: BaseException) -> str:
    """Return one line that says why a table could not be read or written.

    Errors of this package are said whole, those of catalogs, stores and the network by their first
    line. Any other may quote values of files: of it only the class and the place are said.
    """
    if isinstance(error, RubertOodError):
        reason = " ".join(str(error).split())
    elif _is_plain(error):
        reason = _first_line(error)
    else:
        reason = ""
    if holds_credentials(reason):
        return NOT_SHOWN
    return reason or f"{type(error).__name__} in {_place(error)}"


def _is_plain(error: BaseException) -> bool:
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or package in PLAIN


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    is_of_a_log = type(error).__module__.partition(".")[0] in ("deltalake", "_internal")
    line = QUOTED.sub("...", lines[0]) if is_of_a_log else lines[0]
    return " ".join(line.split())[:CHARACTERS]


def _place(error: BaseException) -> str:
    """Return the module and the line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{trace.tb_frame.f_globals.get('__name__')}, line {trace.tb_lineno}"

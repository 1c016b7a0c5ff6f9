"""What this package writes to a terminal: log lines, last words, the results of `predict`.

Everything passes `printable`: names of files, labels, ads and error texts are other people's.
"""

import contextlib
import logging
import os
import sys

from rubert_ood.errors import OutputError
from rubert_ood.plain import printable, printable_lines


class ClosedPipeError(Exception):
    """Nobody reads standard output any more, as after `| head`."""


def prepare() -> None:
    """Make the standard streams safe: closed ones lead nowhere, what they lack is escaped."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file to be opened would take its place
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:  # else print, given None, would write to standard output
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115, for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler])
    logging.raiseExceptions = False  # a terminal that is gone stops no job
    logging.getLogger("rubert_ood").setLevel(logging.INFO)  # of libraries only warnings


class PlainFormatter(logging.Formatter):
    """One record is one line, whatever is in it; only a stack trace has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message with what acts on a terminal made visible."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        """Return a stack trace with control characters escaped."""
        return printable_lines(super().formatException(ei))  # type: ignore[arg-type]


def say(line: str) -> None:
    """Write a line to standard error; a closed terminal is ignored."""
    with contextlib.suppress(OSError, ValueError):
        print(printable(line), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Write results to standard output; ClosedPipeError when its reader is gone, else
    OutputError."""
    if sys.stdout is None:
        raise OutputError(
            "standard output is closed, so no result can be printed. Open it,"
            " or redirect it to a file"
        )
    try:
        print(text, flush=True)
    except BrokenPipeError as error:
        drop_output()
        raise ClosedPipeError from error
    except OSError as error:
        drop_output()
        raise OutputError(f"standard output: {error}") from error


def drop_output() -> None:
    """Let what is still buffered go nowhere, or the interpreter complains at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def encodes_everything() -> bool:
    """Say whether standard output takes every character."""
    return sys.stdout is None or sys.stdout.encoding.lower().replace("-", "") == "utf8"

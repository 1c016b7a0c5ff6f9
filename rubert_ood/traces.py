"""An error for a log that is kept: where it came from and of which kind, without what it was about.

A message of our own holds no personal data. One of another library may quote an ad: its first
characters stand here, without digits. Frames have file, line and function, no line of code.
"""

import re
import traceback

from rubert_ood.errors import RubertOodError
from rubert_ood.plain import printable, without_digits

MAX_LINES = 20
SHOWN_CHARACTERS = 200
_FRAME = re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<name>\S+)')
_PACKAGES = re.compile(r".*/(?:site-packages|dist-packages)/")


def said(error: BaseException) -> str:
    """Return class and message in one line; of another's message 200 characters, digits as #."""
    name, text = type(error).__name__, " ".join(str(error).split())
    if not isinstance(error, RubertOodError):
        text = without_digits(text[:SHOWN_CHARACTERS])
    return printable(f"{name}: {text}" if text else name)


def last_lines(error: BaseException) -> list[str]:
    """Return the last 20 lines of a stack trace, that of a remote task where Ray brought one."""
    lines: list[str] = []
    for link in reversed(_chain(error)):
        lines += [*_frames(link), said(getattr(link, "cause", None) or link)]
    return lines[-MAX_LINES:]


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error, what caused it, what caused that."""
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        context = None if link.__suppress_context__ else link.__context__
        link = link.__cause__ or context
    return found


def _frames(error: BaseException) -> list[str]:
    remote = getattr(error, "traceback_str", None)  # of a RayTaskError
    if isinstance(remote, str):
        return [_line(*match.groups()) for match in _FRAME.finditer(remote)]
    frames = traceback.extract_tb(error.__traceback__)
    return [_line(frame.filename, str(frame.lineno), frame.name) for frame in frames]


def _line(file: str, number: str, name: str) -> str:
    return printable(f"{_PACKAGES.sub('', file)}:{number} in {name}")

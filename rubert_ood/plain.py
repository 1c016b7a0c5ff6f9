"""Text that others wrote, made safe to show: labels, names of files, settings of a bundle."""

import re
import unicodedata

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories that a terminal or a page acts on, or that nobody sees."""
MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def printable(text: str) -> str:
    """Write control and format characters as their escapes: `\\x1b` for ESC, `\\u200b` for a zero-width space."""
    return "".join(_escaped(letter) if unicodedata.category(letter) in HIDDEN else letter for letter in text)


def markdown(text: str) -> str:
    """Return printable text that Markdown shows as it is: no markup, no HTML, no link, no new line."""
    return MARKUP.sub(r"\\\1", printable(text))


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")

"""Text on its way to a terminal, a log or a page: nothing in what others wrote may act."""

import re
import unicodedata

JOINER = "\u200d"
"""Zero-width joiner: emoji of several people are held together by it."""
ACTING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode categories: controls, format characters (bidi, zero width), lone surrogates, line
separators."""
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
"""What no path or URI may hold, although a file system may allow it."""
DIGIT = re.compile(r"\d")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute: ads are hostile text."""
MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def printable(text: str) -> str:
    """Write every character that acts instead of showing itself as its escape.

    Letters of every script, emoji and no-break spaces stay. The result is one line that encodes to
    UTF-8.
    """
    if text.isprintable():
        return text
    return "".join([_escaped(char) if _acts(char) else char for char in text])


def _acts(char: str) -> bool:
    return unicodedata.category(char) in ACTING and char != JOINER


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def without_digits(text: str) -> str:
    """Write # for each digit: what somebody else wrote may hold a phone number."""
    return DIGIT.sub("#", text)


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun, as `1 file` or `2,000 files`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: an apostrophe stands in front.

    A number with its sign is none.
    """
    is_number = text[:1] in ("+", "-") and text[1:].isdecimal()
    if is_number or not text.startswith(FORMULA):
        return text
    return f"'{text}"


def printable_lines(text: str) -> str:
    """Do the same line by line: line feeds and tabs stay, as in a page or a stack trace."""
    lines = [
        "\t".join([printable(cell) for cell in line.split("\t")])
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def markdown(text: str) -> str:
    """Return printable text that Markdown shows as it is: no markup, HTML, link or new line."""
    return MARKUP.sub(r"\\\1", printable(text))

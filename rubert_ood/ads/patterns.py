"""Regular expressions from outside: compiled only if they take bounded time on any text.

Python's engine backtracks: `(\\d+)+x` tries 2^n ways to split n digits. Each loop of a pattern is
fed what it repeats, longer and longer, with an end that lets it fail. The time is that of this
thread, so that a busy machine does not matter. Growth with the square of the length passes, as of
`\\d+x`.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]
from typing import Any

MAX_CHARACTERS = 1000
LENGTHS = (*range(2, 41), 64, 128, 256, 512, 1024)
"""Repetitions: one more at a time while they may double the time."""
LIMIT_S = 0.05
"""A linear pattern takes less than 0.001 s, one with a square 0.005 s."""
CANDIDATES = "1- a8я+(.x,\n"
"""Characters that are tried where a pattern admits several."""
MAX_SAMPLES = 6
LOOPS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)
CHARACTERS = (_constants.IN, _constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY)
TOO_SLOW = (
    "its run time explodes with the length of a text. Remove nested"
    " repetitions, such as (a+)+"
)


@lru_cache(maxsize=32)
def compile_bounded(pattern: str) -> re.Pattern[str]:
    """Compile a pattern whose matches become a space; ValueError says what is wrong with it."""
    if len(pattern) > MAX_CHARACTERS:
        raise ValueError(
            f"it has {len(pattern):,} characters, more than"
            f" {MAX_CHARACTERS:,}. Shorten it"
        )
    try:
        compiled = re.compile(pattern)
        loops = list(_loops(_parser.parse(pattern), ""))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"it is not a valid regular expression ({error}). Correct it"
        ) from error
    for text in ("", CANDIDATES):
        if any(not match.group() for match in compiled.finditer(text)):
            raise ValueError(
                "it matches the empty text. Require a character, or use"
                " (?!) to remove nothing"
            )
    for loop in loops:
        for word in loop.words:
            for end in ("\0", ""):
                _try(compiled, loop.before, word, end)
    return compiled


def _try(compiled: re.Pattern[str], before: str, word: str, end: str) -> None:
    for length in LENGTHS:
        text = before + word * length + end
        started = time.thread_time()
        compiled.search(text)
        if time.thread_time() - started > LIMIT_S:
            raise ValueError(TOO_SLOW)


@dataclass(frozen=True)
class _Loop:
    before: str
    """A text that leads into the loop."""
    words: list[str]
    """What it may repeat."""


def _loops(tree: Any, before: str) -> Iterator[_Loop]:
    """Yield every loop of a parsed pattern, those inside loops too."""
    for kind, argument in tree:
        for part in _parts(kind, argument):
            yield from _loops(part, before)
        if kind in LOOPS and argument[1] > 1:
            body = argument[2]
            letters = sorted(
                {letter for node in _characters(body) for letter in _samples(body, node)}
            )
            letters = letters[:MAX_SAMPLES]
            pairs = [first + second for first in letters for second in letters]
            yield _Loop(before, sorted({_shortest(body), *letters, *pairs} - {""}))
        before += _shortest(_parser.SubPattern(tree.state, [(kind, argument)]))


def _parts(kind: Any, argument: Any) -> list[Any]:
    """Return the patterns inside a node."""
    if kind in LOOPS:
        return [argument[2]]
    if kind is _constants.BRANCH:
        return list(argument[1])
    if kind is _constants.ATOMIC_GROUP:
        return [argument]
    if kind in (_constants.SUBPATTERN, _constants.ASSERT, _constants.ASSERT_NOT):
        return [argument[-1]]
    if kind is _constants.GROUPREF_EXISTS:
        return [part for part in argument[1:] if part is not None]
    return []


def _characters(tree: Any) -> Iterator[Any]:
    """Yield the nodes that match one character, at any depth."""
    for kind, argument in tree:
        if kind in CHARACTERS:
            yield (kind, argument)
        for part in _parts(kind, argument):
            yield from _characters(part)


def _samples(tree: Any, node: Any) -> list[str]:
    """Return characters that a node matches, at least one where any can be found."""
    kind, argument = node
    if kind is _constants.LITERAL:
        return [chr(argument)]
    one = _compiler.compile(_parser.SubPattern(tree.state, [node]))
    letters = [letter for letter in CANDIDATES if one.fullmatch(letter)]
    return (
        letters
        or [letter for letter in map(chr, range(0x250)) if one.fullmatch(letter)][:1]
    )


def _shortest(tree: Any) -> str:
    """Return a short text that a pattern matches, by the first of its alternatives."""
    text = ""
    for kind, argument in tree:
        if kind in CHARACTERS:
            text += "".join(_samples(tree, (kind, argument))[:1])
        elif kind in LOOPS:
            text += _shortest(argument[2]) * min(max(argument[0], 0), LENGTHS[-1])
        elif kind not in (_constants.ASSERT, _constants.ASSERT_NOT):
            text += "".join(_shortest(part) for part in _parts(kind, argument)[:1])
    return text

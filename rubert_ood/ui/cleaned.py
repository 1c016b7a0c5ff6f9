"""What the cleaner removes from an ad, and where in the ad each character of the rest comes from.

It follows `TextCleaner.clean` step by step with the same patterns, so that `Traced.cleaned` is what
`clean` returns.
"""

import re
from dataclasses import dataclass
from itertools import groupby

from rubert_ood.ads.text import REMOVED_KINDS, TextCleaner

KEPT, UNREAD = "kept", "unread"
WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Removed:
    """A part of an ad that the model never sees: characters [start, stop)."""

    start: int
    stop: int
    kind: str


@dataclass(frozen=True)
class Traced:
    """A cleaned ad, and the way back to what was written."""

    written: str
    cleaned: str
    origins: list[int]
    """For each character of `cleaned` its place in `written`."""
    removed: list[Removed]


@dataclass(frozen=True)
class Piece:
    """Consecutive characters of an ad that share a fate."""

    text: str
    kind: str
    """KEPT, UNREAD, or the kind of what was removed."""


@dataclass(frozen=True)
class _Step:
    text: str
    origins: list[int]


def trace(cleaner: TextCleaner, written: str) -> Traced:
    """Clean an ad, and note where everything comes from."""
    patterns = cleaner.removals()
    removed: list[Removed] = []
    step = _Step(written, list(range(len(written))))
    for kind in REMOVED_KINDS:
        if kind == REMOVED_KINDS[1]:
            step = _lowered(step)
        step = _without(step, patterns[kind], kind, removed)
    step = _collapsed(step)
    return Traced(written, step.text, step.origins, removed)


def pieces(traced: Traced, *, num_read: int | None = None) -> list[Piece]:
    """Cut an ad into what is kept, removed, and left unread.

    `num_read`: so many characters of the cleaned text are read; None: all.
    """
    kinds = [KEPT] * len(traced.written)
    if num_read is not None and num_read < len(traced.origins):
        start = traced.origins[num_read]
        kinds[start:] = [UNREAD] * (len(kinds) - start)
    for part in traced.removed:
        kinds[part.start : part.stop] = [part.kind] * (part.stop - part.start)
    found = []
    for kind, group in groupby(range(len(kinds)), kinds.__getitem__):
        places = list(group)
        text = traced.written[places[0] : places[-1] + 1]
        found.append(Piece(text, kind))
    return found


def _without(
    step: _Step, pattern: re.Pattern[str] | None, kind: str, removed: list[Removed]
) -> _Step:
    """Put a space in the place of each match, and note what stood there."""
    if pattern is None:
        return step
    texts, origins, place = list[str](), list[int](), 0
    for match in pattern.finditer(step.text):
        start, stop = match.span()
        texts += [step.text[place:start], " "]
        origins += step.origins[place : start + 1]
        last = step.origins[stop - 1]
        removed.append(Removed(step.origins[start], last + 1, kind))
        place = stop
    texts.append(step.text[place:])
    return _Step("".join(texts), origins + step.origins[place:])


def _lowered(step: _Step) -> _Step:
    """Lower the text as a whole; some letters become two."""
    origins = []
    for letter, origin in zip(step.text, step.origins, strict=True):
        origins += [origin] * len(letter.lower())
    return _Step(step.text.lower(), origins)


def _collapsed(step: _Step) -> _Step:
    """Leave one space between words."""
    words, origins = list[str](), list[int]()
    for match in WORD.finditer(step.text):
        if words:
            origins.append(step.origins[match.start() - 1])
        words.append(match.group())
        origins += step.origins[match.start() : match.end()]
    return _Step(" ".join(words), origins)

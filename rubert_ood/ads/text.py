"""From an ad to the text that the model reads. Neither torch nor Ray is needed here."""

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from rubert_ood.ads.patterns import compile_bounded
from rubert_ood.errors import SettingsError
from rubert_ood.settings import NOISE_WORDS, PHONE_PATTERN

EXCERPT_CHARACTERS = 200
"""Of a cleaned text, which has lost phone numbers and city names: what a report may show."""
REMOVED_KINDS = ("phone number", "city name", "noise word")
"""What the cleaner removes, in its order."""

Tree = dict[str, "Tree"]
"""Letters by what follows them; the key "" ends a word."""


class TextCleaner:
    """Remove phone numbers, city names and noise words; lower-case; collapse white space.

    Words are removed whole, in any case, the longest name at the leftmost place first. All city
    names share one prefix tree in one regular expression, so that the time does not grow with their
    number.
    """

    def __init__(
        self,
        *,
        phone_pattern: str = PHONE_PATTERN,
        noise_words: Iterable[str] = NOISE_WORDS,
        cities: Iterable[str] = (),
    ) -> None:
        self.phone_pattern = phone_pattern
        self.noise_words = _all_normalised(noise_words)
        self.cities = _all_normalised(cities)
        try:
            self._phone = compile_bounded(phone_pattern)
        except ValueError as error:
            raise SettingsError(f"cleaner.phone_pattern: {error}") from error
        self._city = _whole_words(self.cities)
        self._noise = _whole_words(self.noise_words)

    def clean(self, text: str) -> str:
        """Return the text as the model reads it; "" if nothing is left."""
        text = self._phone.sub(" ", text).lower()
        if self._city:
            text = self._city.sub(" ", text)
        if self._noise:
            text = self._noise.sub(" ", text)
        return " ".join(text.split())

    def removals(self) -> dict[str, re.Pattern[str] | None]:
        """Return what finds each kind of part that `clean` removes, in its order.

        Phone numbers are looked for in the text as written, the others in lower case.
        """
        patterns = (self._phone, self._city, self._noise)
        return dict(zip(REMOVED_KINDS, patterns, strict=True))

    def to_dict(self) -> dict[str, str | list[str]]:
        """Return what a bundle keeps of it: the arguments that make it again."""
        return {
            "phone_pattern": self.phone_pattern,
            "noise_words": self.noise_words,
            "cities": self.cities,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "TextCleaner":
        """Undo `to_dict`."""
        return cls(**content)


def ad_text(title: str | None, description: str | None) -> str:
    """Join title and description, of which either may be missing."""
    return f"{title or ''} {description or ''}"


def text_key(text: str) -> str:
    """Return a 128-bit hex key of a cleaned text: the same text has the same key in every run."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def normalised(word: str) -> str:
    """Return a word, or a name of several, as the cleaner keeps it; "" if nothing is left."""
    return word.strip().lower()


def _all_normalised(words: Iterable[str]) -> list[str]:
    return sorted({normalised(word) for word in words if word} - {""})


def _whole_words(words: list[str]) -> re.Pattern[str] | None:
    if not words:
        return None
    tree: Tree = {}
    for word in words:
        node = tree
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}
    return re.compile(rf"(?<!\w){_alternatives(tree)}(?!\w)")


def _alternatives(node: Tree) -> str:
    """Write a prefix tree as a pattern that prefers the longer word."""
    prefix = ""
    while len(node) == 1 and "" not in node:  # no recursion for a long name
        ((letter, node),) = node.items()
        prefix += re.escape(letter)
    branches = [
        re.escape(letter) + _alternatives(child)
        for letter, child in node.items()
        if letter
    ]
    if not branches:
        return prefix
    pattern = (
        branches[0]
        if len(branches) == 1 and "" not in node
        else f"(?:{'|'.join(branches)})"
    )
    return f"{prefix}{pattern}?" if "" in node else prefix + pattern

"""Texts whose first tokens are hard to find: megabytes that a tokenizer drops, or one word without end.

Such a text is shortened, character by character, by rules that leave its tokens alone: what the tokenizer drops is
dropped, its kinds of white space become one space, and a word that is longer than WordPiece reads keeps as much as
makes it too long. What the tokenizer does with a character is asked of the tokenizer itself.
"""

import re
from typing import Any

from tokenizers.models import WordPiece

SLICE_CHARACTERS = 250_000
"""Characters that are shortened at a time."""
MARGIN_TOKENS = 8
"""Tokens before a cut that may be other ones, where a tokenizer does not part texts at white space."""
FIRST_CHARACTERS_PER_TOKEN = 64
GROWTH = 8
MOST_CHARACTERS = 4_000_000
"""Of a shortened text that are tokenized at all. Only another tokenizer than WordPiece may want more."""
COMPOSED = 4
"""Characters that a normalizer may join into one."""


def shortened_tokens(backend: Any, text: str, limit: int) -> tuple[list[int], bool]:
    """Return the tokens that a text begins with, at least `limit` if it has so many, and whether these are all.

    backend: a tokenizer of `tokenizers` that does not truncate. No special tokens are added. A tokenizer other than
    WordPiece that makes less than `limit` tokens of MOST_CHARACTERS gets no further.
    """
    shortener = _Shortener(backend)
    size = (limit + MARGIN_TOKENS) * FIRST_CHARACTERS_PER_TOKEN
    while True:
        head, is_whole = shortener.head(text, size)
        ids = backend.encode(head, add_special_tokens=False).ids
        if is_whole or len(ids) >= limit + MARGIN_TOKENS or size >= MOST_CHARACTERS:
            return ids, is_whole
        size *= GROWTH


class _Characters(dict[int, int | str | None]):
    """What `str.translate` makes of each character; asked of the tokenizer when one is first met."""

    def __init__(self, backend: Any) -> None:
        super().__init__()
        self._backend = backend
        self._nothing, self._space = self.words("aa"), self.words("a a")
        self.parting: set[str] = set()
        """Characters that end a word."""

    def __missing__(self, code: int) -> int | str | None:
        words = self.words(f"a{chr(code)}a")
        if len(words) > 1:
            self.parting.add(chr(code))
        known = None if words == self._nothing else " " if words == self._space else code
        self[code] = known
        return known

    def words(self, text: str) -> list[str]:
        """Return the words that the model of the tokenizer is given."""
        backend = self._backend
        text = backend.normalizer.normalize_str(text) if backend.normalizer else text
        if not backend.pre_tokenizer:
            return [text]
        return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]


class _Shortener:
    def __init__(self, backend: Any) -> None:
        self._characters = _Characters(backend)
        words = self._characters.words
        self._joins_spaces = words("a  a") == words("a a")
        is_word_piece = isinstance(backend.model, WordPiece)
        self._longest = COMPOSED * backend.model.max_input_chars_per_word if is_word_piece else None

    def head(self, text: str, size: int) -> tuple[str, bool]:
        """Return the shortened text and True, or, cut at a space, about `size` characters of it and False."""
        short = ""
        for start in range(0, len(text), SLICE_CHARACTERS):
            piece = text[start : start + SLICE_CHARACTERS].translate(self._characters)
            short = self._squeeze(short + piece)
            if len(short) > size:
                end = short.rfind(" ", size // 2, size)
                return short[: end if end > 0 else size], False
        return short, True

    def _squeeze(self, text: str) -> str:
        if self._joins_spaces:
            text = re.sub(" {2,}", " ", text)
        if self._longest is None:
            return text
        inside = f"[^ {''.join(map(re.escape, sorted(self._characters.parting)))}]"
        return re.sub(rf"({inside}{{{self._longest}}}){inside}+", r"\1", text)

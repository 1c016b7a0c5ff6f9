"""Texts whose first tokens are hard to find: megabytes of nothing, one word without end.

Such a text is shortened, character by character, by rules that leave its tokens alone: what the
tokenizer drops is dropped, its kinds of white space become one space, and a word that is longer
than WordPiece reads keeps as much as makes it too long. What the tokenizer does with a character is
asked of the tokenizer itself.
"""

import re
from functools import lru_cache
from typing import Any

from tokenizers.models import WordPiece

SLICE_CHARACTERS = 250_000
"""Characters that are shortened at a time."""
MARGIN_TOKENS = 8
"""Tokens before a cut that may be other ones, where a tokenizer does not part texts at white
space."""
FIRST_CHARACTERS_PER_TOKEN = 16
GROWTH = 8
MOST_CHARACTERS = 1_000_000
"""Of a shortened text that a tokenizer other than WordPiece reads at most; WordPiece needs less."""
RUN_CHARACTERS = 1_000
COMPOSED = 4
"""Characters that a normalizer may join into one."""


def shortened_tokens(backend: Any, text: str, limit: int) -> tuple[list[int], bool]:
    """Return the first tokens of a text, `limit` or more if it has them, and if these are all.

    backend: a tokenizer of `tokenizers` that does not truncate. No special tokens are added. Where
    WordPiece finds words, another tokenizer may find one of more than MOST_CHARACTERS; of that it
    reads no more.
    """
    shortener = _shortener(backend)
    size = (limit + MARGIN_TOKENS) * FIRST_CHARACTERS_PER_TOKEN
    while True:
        head, is_whole = shortener.head(text, size)
        is_last = is_whole or (size >= MOST_CHARACTERS and not shortener.is_word_piece)
        ids = shortener.tokens(head, with_last_word=is_last)
        if is_last or len(ids) >= limit + MARGIN_TOKENS:
            return ids, is_whole
        size *= GROWTH


def without_runs(backend: Any, text: str, limit: int) -> str:
    """Shorten runs of one character, where that leaves the first `limit` tokens alone.

    WordPiece makes of a run no token, one, or as many as it has characters. A cleaner does not mind
    either: the text may be cleaned afterwards.
    """
    if not isinstance(backend.model, WordPiece):
        return text
    size = max(RUN_CHARACTERS, limit + MARGIN_TOKENS)
    before, kept = "", []
    for start in range(0, len(text), size):
        block = text[start : start + size]
        if block != before or block != block[0] * size:
            kept.append(block)
        before = block
    return "".join(kept)


class _Characters(dict[int, int | str | None]):
    """What `str.translate` makes of a character; the tokenizer is asked when one is first met."""

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


@lru_cache(maxsize=4)
def _shortener(backend: Any) -> "_Shortener":
    return _Shortener(backend)


class _Shortener:
    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._characters = _Characters(backend)
        words = self._characters.words
        self._joins_spaces = words("a  a") == words("a a")
        self.is_word_piece = isinstance(backend.model, WordPiece)

    def head(self, text: str, size: int) -> tuple[str, bool]:
        """Return the shortened text and True, or about `size` characters of it and False."""
        short = ""
        for start in range(0, len(text), SLICE_CHARACTERS):
            piece = text[start : start + SLICE_CHARACTERS].translate(self._characters)
            short = self._squeeze(short + piece)
            if len(short) > size:
                end = short.rfind(" ", size // 2, size)
                return short[: end if end > 0 else size], False
        return short, True

    def tokens(self, head: str, *, with_last_word: bool) -> list[int]:
        """Tokenize a head; a word that is cut may have other tokens than the whole one."""
        encoding = self._backend.encode(head, add_special_tokens=False)
        if with_last_word or not encoding.ids:
            return encoding.ids
        return encoding.ids[: encoding.word_ids.index(encoding.word_ids[-1])]

    def _squeeze(self, text: str) -> str:
        if self._joins_spaces:
            text = re.sub(" {2,}", " ", text)
        if not self.is_word_piece:
            return text
        longest = COMPOSED * self._backend.model.max_input_chars_per_word
        inside = f"[^ {''.join(map(re.escape, sorted(self._characters.parting)))}]"
        return re.sub(rf"({inside}{{{longest}}}){inside}+", r"\1", text)

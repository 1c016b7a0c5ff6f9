"""The different texts of some ads: each is cleaned, known by its key, and tokenized once, a few
megabytes at a time; those whose results are known already are not tokenized.

Of a long ad (`ads/ad_key.py`) the head is cleaned, and the whole ad only where the head has too few
tokens. The same holds for the words that a stack reads: they are those at the beginning of the
cleaned ad.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rubert_ood.ads.ad_key import known_ad
from rubert_ood.ads.text import EXCERPT_CHARACTERS, TextCleaner
from rubert_ood.classifier.shorten import without_runs
from rubert_ood.classifier.tokenizer import TextTokenizer
from rubert_ood.classifier.windows import Windows, cut, is_blank
from rubert_ood.settings import TextSettings

if TYPE_CHECKING:
    from rubert_ood.classifier.stack import Stack

MARGIN_CHARACTERS = 256
"""At the end of a head: what is removed there, such as a phone number, may go on behind it."""
PENDING_CHARACTERS = 1_000_000
"""Characters of ads that are tokenized together."""
TakeOver = Callable[[list[str]], pa.Table]
"""Returns the results of those texts, given by their keys, that need not be scored: a row each, in
the order of the keys, with the column text_key."""


@dataclass
class _Text:
    key: str
    cleaned: str
    """Of the whole ad, or of its head."""
    whole: str | None
    """The ad as it is written, if only its head is cleaned."""

    def known(self) -> str:
        """Return what of the cleaned text is sure, whatever follows the head."""
        if self.whole is None:
            return self.cleaned
        return self.cleaned[: max(self.cleaned.rfind(" ", 0, -MARGIN_CHARACTERS), 0)]


class TextFolder:
    """Takes ads one by one, and numbers their different texts in the order in which they come."""

    def __init__(
        self,
        cleaner: TextCleaner,
        tokenizer: TextTokenizer,
        settings: TextSettings,
        take_over: TakeOver | None = None,
        stack: "Stack | None" = None,
    ) -> None:
        self._cleaner = cleaner
        self._take_over = take_over
        self._tokenizer = tokenizer
        self._settings = settings
        self._stack = stack
        self._most_tokens = settings.max_length
        if settings.mode == "window":
            self._most_tokens *= settings.max_windows
        self._numbers: dict[str, int] = {}
        self._number_of_ads: list[int] = []
        self._pending: list[_Text] = []
        self._pending_characters = 0
        self._tables: list[pa.Table] = []
        self._taken: list[pa.Table] = []
        self._blank: list[np.ndarray] = []
        self._is_taken: list[np.ndarray] = []

    def add(self, ad: str | None) -> None:
        """Take the next ad; None stands for an ad that is not read."""
        self._number_of_ads.append(-1 if ad is None else self._number(ad))

    def finish(self) -> tuple[pa.Table, pa.Int64Array]:
        """Return the texts in which the model can read something, and the row there of each ad.

        The columns are text_key, excerpt and those of Windows. The row is null for an ad in which
        the model reads nothing, and for one that shall not be read. The rows of `taken` are counted
        behind those of the texts.
        """
        self._flush()
        texts = pa.concat_tables(self._tables).combine_chunks()
        is_kept_T = ~np.concatenate(self._blank)
        is_taken_N = np.concatenate(self._is_taken)
        row_N = np.empty(len(is_taken_N), np.int64)
        row_N[~is_taken_N] = np.where(is_kept_T, np.cumsum(is_kept_T) - 1, -1)
        row_N[is_taken_N] = is_kept_T.sum() + np.arange(is_taken_N.sum())
        row_of_ads = np.append(row_N, -1)[np.array(self._number_of_ads, np.int64)]
        text_index = pa.array(row_of_ads, pa.int64(), mask=row_of_ads < 0)
        return texts.filter(pa.array(is_kept_T)), text_index

    def taken(self) -> pa.Table:
        """Return the results that were taken over, beside the column excerpt, after `finish`."""
        return pa.concat_tables(self._taken).combine_chunks()

    def _number(self, ad: str) -> int:
        """Return the number of the text of an ad; -1 if nothing is left of it after cleaning."""
        known = known_ad(ad, self._cleaner)
        key = known.key
        if not key:
            return -1
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._pending.append(_Text(key, known.cleaned, ad if known.is_long else None))
            self._pending_characters += len(ad)
            if self._pending_characters > PENDING_CHARACTERS:
                self._flush()
        return self._numbers[key]

    def _flush(self) -> None:
        """Take over what can be of what is pending, and tokenize the others."""
        pending, self._pending, self._pending_characters = self._pending, [], 0
        keys = set[str]()
        if self._take_over is not None:
            taken = self._take_over([text.key for text in pending])
            keys = set(taken["text_key"].to_pylist())
            excerpts = _excerpts([text for text in pending if text.key in keys])
            self._taken.append(taken.append_column("excerpt", excerpts))
        is_taken = [text.key in keys for text in pending]
        self._is_taken.append(np.array(is_taken, bool))
        self._tokenize([text for text in pending if text.key not in keys])

    def _tokenize(self, texts: list[_Text]) -> None:
        windows = self._cut(texts)
        unsure = [
            text
            for text, is_cut in zip(texts, windows.is_cut_N, strict=True)
            if text.whole is not None and not (is_cut and self._has_words(text))
        ]
        for text in unsure:
            backend = self._tokenizer.backend
            whole = without_runs(backend, text.whole or "", self._most_tokens)
            text.cleaned = self._cleaner.clean(whole)
            text.whole = None
        if unsure:
            windows = self._cut(texts)
        keys = pa.array([text.key for text in texts], pa.string())
        columns = {"text_key": keys, "excerpt": _excerpts(texts), **windows.columns()}
        known = [text.known() for text in texts]
        self._tables.append(pa.table(columns))
        self._blank.append(is_blank(self._tokenizer, known, windows))

    def _cut(self, texts: list[_Text]) -> Windows:
        known = [text.known() for text in texts]
        return cut(self._tokenizer, known, self._settings, self._stack)

    def _has_words(self, text: _Text) -> bool:
        """Say whether the head of an ad is as much as a stack reads of the whole."""
        stack = self._stack
        return stack is None or len(text.known()) >= stack.words.max_characters


def _excerpts(texts: list[_Text]) -> pa.StringArray:
    return pa.array([text.cleaned[:EXCERPT_CHARACTERS] for text in texts], pa.string())

"""The different texts of a shard: each is cleaned, known by its key, and tokenized once, a few
megabytes at a time.

Of an ad of more than HEAD_CHARACTERS the head is cleaned, and the whole ad only where the head has
too few tokens: so an ad of megabytes costs what its head costs. The key of such an ad is that of
its cleaned head and of its rest as it is written.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rubert_ood.ads.text import text_key
from rubert_ood.bundle import Bundle
from rubert_ood.classifier.shorten import without_runs
from rubert_ood.classifier.windows import Windows, cut, is_blank
from rubert_ood.runs.profile import EXCERPT_CHARACTERS

HEAD_CHARACTERS = 8_192
MARGIN_CHARACTERS = 256
"""At the end of a head: what is removed there, such as a phone number, may go on behind it."""
PENDING_CHARACTERS = 1_000_000
"""Characters of ads that are tokenized together."""


@dataclass
class _Text:
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
    """Numbers the different texts of a shard in the order in which they come."""

    def __init__(self, bundle: Bundle, tokenizer: Any) -> None:
        self._bundle = bundle
        self._tokenizer = tokenizer
        long_text = bundle.long_text
        self._most_tokens = bundle.max_length * (
            long_text.max_chunks if long_text.mode == "chunk" else 1
        )
        self._numbers: dict[str, int] = {}
        self._pending: list[_Text] = []
        self._pending_characters = 0
        self._tables: list[pa.Table] = []
        self._blank: list[np.ndarray] = []

    def add(self, ad: str) -> int | None:
        """Return the number of the text of an ad; None if nothing is left of it after cleaning."""
        size = _head_size(ad)
        text = _Text(self._bundle.cleaner.clean(ad[:size]), ad if size < len(ad) else None)
        if not text.cleaned and text.whole is None:
            return None
        key = text_key(text.cleaned)
        if text.whole is not None:  # a cleaned text has no capital letters, and so never this key
            key = text_key(f"LONG {key} {text_key(ad[size:])}")
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._pending.append(text)
            self._pending_characters += len(ad)
            if self._pending_characters > PENDING_CHARACTERS:
                self._tokenize()
        return self._numbers[key]

    def finish(self) -> tuple[pa.Table, np.ndarray]:
        """Return the texts in which the model can read something: text_key, excerpt, and the
        columns of Windows.

        The second value tells the row of each number in this table, -1 if the model reads nothing
        of it: int64 (N,).
        """
        self._tokenize()
        keys = pa.table({"text_key": pa.array(list(self._numbers), pa.string())})
        texts = pa.concat_tables(self._tables).combine_chunks()
        is_kept_N = ~np.concatenate(self._blank)
        row_N = np.where(is_kept_N, np.cumsum(is_kept_N) - 1, -1)
        table = pa.table([*keys.columns, *texts.columns], [*keys.schema.names, *texts.schema.names])
        return table.filter(pa.array(is_kept_N)), row_N

    def _tokenize(self) -> None:
        """Tokenize what is pending."""
        windows = self._cut()
        unsure = [
            text
            for text, is_cut in zip(self._pending, windows.is_cut_N, strict=True)
            if text.whole is not None and not is_cut
        ]
        for text in unsure:
            whole = without_runs(
                self._tokenizer.backend_tokenizer, text.whole or "", self._most_tokens
            )
            text.cleaned, text.whole = self._bundle.cleaner.clean(whole), None
        windows = self._cut() if unsure else windows
        excerpts = [text.cleaned[:EXCERPT_CHARACTERS] for text in self._pending]
        self._tables.append(
            pa.table({"excerpt": pa.array(excerpts, pa.string()), **windows.columns()})
        )
        self._blank.append(
            is_blank(self._tokenizer, [text.known() for text in self._pending], windows)
        )
        self._pending, self._pending_characters = [], 0

    def _cut(self) -> Windows:
        return cut(
            self._tokenizer,
            [text.known() for text in self._pending],
            max_length=self._bundle.max_length,
            long_text=self._bundle.long_text,
        )


def _head_size(ad: str) -> int:
    if len(ad) <= HEAD_CHARACTERS:
        return len(ad)
    space = ad.rfind(" ", HEAD_CHARACTERS // 2, HEAD_CHARACTERS)
    return space if space > 0 else HEAD_CHARACTERS

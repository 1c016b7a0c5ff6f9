"""Long texts: overlapping windows of token ids, whose outputs become one answer.

`truncate` is the case of one window: the first max_length tokens. Fit, evaluation, prediction and
scoring all read texts this way, with the settings that the bundle keeps; only fine-tuning always
takes the first window. The words of a bundle that has a stack are those of the text, not of its
windows: what they add is added once, to the mean over the windows.

Shapes: N texts, W windows, C classes, H hidden; X is any of the last two.
"""

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rubert_ood.classifier.tokenizer import TextTokenizer
from rubert_ood.classifier.tokens import first_tokens, num_tokens
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import TextSettings

if TYPE_CHECKING:
    from rubert_ood.classifier.classifier import Classifier
    from rubert_ood.classifier.stack import Stack

IDS = "windows"
"""The column that holds the token ids of each window of a text."""
WORD_LOGITS = "word_logits"
"""The column of what the words of a text add to its logits, where the bundle has a stack."""
COLUMNS = {
    IDS: pa.list_(pa.list_(pa.int32())),
    "num_tokens": pa.int32(),
    "is_cut": pa.bool_(),
}
"""A table of windowed texts, one row per text."""
INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Me"))
"""Unicode categories: control, format (zero-width, soft hyphen), surrogate, space, and marks on
other characters."""
REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Windows:
    """Texts cut into windows; those of one text lie side by side, in reading order."""

    ids: pa.ListArray
    """list<int32> (W,), special tokens included, unpadded."""
    num_windows_N: np.ndarray
    """int32 (N,), windows of each text, at least 1."""
    num_tokens_N: np.ndarray
    """int32 (N,), tokens of each text that were read: special tokens once, overlaps once."""
    is_cut_N: np.ndarray
    """bool (N,), whether tokens at the end of the text were left out."""
    word_logits_NC: np.ndarray | None = None
    """float32 (N, C), added to the logits of each text; None without a stack."""

    def columns(self) -> dict[str, pa.Array]:
        """Return the columns of COLUMNS, and WORD_LOGITS with a stack."""
        offsets = np.concatenate([[0], np.cumsum(self.num_windows_N)]).astype(np.int32)
        windows = pa.ListArray.from_arrays(pa.array(offsets), self.ids)
        columns = {
            IDS: windows,
            "num_tokens": pa.array(self.num_tokens_N, pa.int32()),
            "is_cut": pa.array(self.is_cut_N, pa.bool_()),
        }
        if self.word_logits_NC is not None:
            flat = pa.array(self.word_logits_NC.ravel(), pa.float32())
            size = self.word_logits_NC.shape[1]
            columns[WORD_LOGITS] = pa.FixedSizeListArray.from_arrays(flat, size)
        return columns

    def mixed(self, logits_NC: np.ndarray) -> np.ndarray:
        """Return the logits of the network, float32 (N, C), with what the words add."""
        words_NC = self.word_logits_NC
        return logits_NC if words_NC is None else logits_NC + words_NC

    def select(self, rows_N: np.ndarray) -> "Windows":
        """Take the texts of a mask, bool (N,)."""
        return self.of(pa.table(self.columns()).filter(pa.array(rows_N)))

    @classmethod
    def of(cls, table: pa.Table) -> "Windows":
        """Take them from the columns of a table."""
        columns = {name: table[name].combine_chunks() for name in COLUMNS}
        return cls(
            ids=columns[IDS].flatten(),
            num_windows_N=columns[IDS].value_lengths().to_numpy(),
            num_tokens_N=columns["num_tokens"].to_numpy(),
            is_cut_N=columns["is_cut"].to_numpy(zero_copy_only=False),
            word_logits_NC=_word_logits(table),
        )


def _word_logits(table: pa.Table) -> np.ndarray | None:
    if WORD_LOGITS not in table.schema.names:
        return None
    lists = table[WORD_LOGITS].combine_chunks()
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return np.array(flat.reshape(len(lists), lists.type.list_size))


def cut(
    tokenizer: TextTokenizer,
    texts: list[str],
    settings: TextSettings,
    stack: "Stack | None" = None,
) -> Windows:
    """Tokenize, and cut into windows of max_length tokens that share `stride` with the last one.

    The special tokens stand in every window; `stride` does not count them. A stack reads the words
    of the whole texts.
    """
    before, behind = tokenizer.before, tokenizer.behind
    size = settings.max_length - len(before) - len(behind)
    step, max_windows = size, 1
    if settings.mode == "window":
        step, max_windows = size - settings.stride, settings.max_windows
    found, is_cut_N = first_tokens(tokenizer, texts, size + (max_windows - 1) * step)
    windows, num_windows = [], []
    for ids in found:
        starts = range(0, max(1, len(ids) - size + step), step)
        num_windows.append(len(starts))
        windows += [before + ids[start : start + size] + behind for start in starts]
    lengths = [len(ids) + len(before) + len(behind) for ids in found]
    return Windows(
        ids=pa.array(windows, pa.list_(pa.int32())),
        num_windows_N=np.array(num_windows, np.int32),
        num_tokens_N=np.array(lengths, np.int32),
        is_cut_N=is_cut_N,
        word_logits_NC=stack.logits(texts) if stack else None,
    )


def is_blank(tokenizer: TextTokenizer, texts: list[str], windows: Windows) -> np.ndarray:
    """Say which texts are nothing to the model: bool (N,).

    It reads only special and unknown tokens of them, or they have no character that can be seen,
    whatever tokens the tokenizer has for those.
    """
    owners_W = np.repeat(np.arange(len(texts)), windows.num_windows_N)
    owners_T = np.repeat(owners_W, num_tokens(windows.ids))
    is_word_T = ~tokenizer.is_special(windows.ids.flatten().to_numpy())
    num_words_N = np.bincount(owners_T[is_word_T], minlength=len(texts))
    return (num_words_N == 0) | np.array(
        [not _is_visible(text) for text in texts], dtype=bool
    )


def _is_visible(text: str) -> bool:
    return any(
        character != REPLACEMENT and unicodedata.category(character) not in INVISIBLE
        for character in text
    )


def run(classifier: "Classifier", windows: Windows, *, token_budget: int) -> Outputs:
    """Score every window, return one row per text, without labels.

    The logits are those that everything is decided on: with a stack the words are in them.
    """
    found = classifier.run(windows.ids, token_budget=token_budget)
    logits_NC = windows.mixed(pool(found.logits, windows))
    cls_NH, tokens_NH = pool(found.cls, windows), pool(found.tokens, windows)
    return Outputs.unlabelled(logits_NC, cls_NH, tokens_NH)


def pool(outputs_WX: np.ndarray, windows: Windows) -> np.ndarray:
    """Average the windows of each text, weighted by their tokens: (N, X), same dtype.

    Computed in float64, each text for itself; a text of one window keeps its numbers to the last
    bit.
    """
    lengths_W = num_tokens(windows.ids)
    starts_N = np.cumsum(windows.num_windows_N) - windows.num_windows_N
    pooled_NX = outputs_WX[starts_N] if len(starts_N) < len(outputs_WX) else outputs_WX
    for text in np.flatnonzero(windows.num_windows_N > 1):
        rows = slice(starts_N[text], starts_N[text] + windows.num_windows_N[text])
        pooled_NX[text] = np.average(outputs_WX[rows], axis=0, weights=lengths_W[rows])
    return pooled_NX

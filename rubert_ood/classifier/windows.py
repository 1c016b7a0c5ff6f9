"""Long texts: each is cut into overlapping windows of token ids, and what the network says of them becomes one answer.

`truncate` is the case of one window: the first max_length tokens. Fit, evaluation, prediction and scoring all read
texts this way, with the settings that the bundle keeps; only fine-tuning always takes the first window.

Shapes: N texts, W windows, C classes, H hidden; X is any of the last two.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rubert_ood.classifier.tokens import num_tokens
from rubert_ood.settings import LongTextSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rubert_ood.classifier.model import Classifier

COLUMNS = {"windows": pa.list_(pa.list_(pa.int32())), "num_tokens": pa.int32(), "is_cut": pa.bool_()}
"""A table of windowed texts, one row per text."""


@dataclass(frozen=True)
class Windows:
    """Texts cut into windows; those of one text lie side by side, in reading order."""

    ids: pa.ListArray
    """list<int32> (W,), special tokens included, unpadded."""
    num_chunks_N: np.ndarray
    """int32 (N,), windows of each text, at least 1."""
    num_tokens_N: np.ndarray
    """int32 (N,), tokens of each text that were read: special tokens once, overlaps once."""
    is_cut_N: np.ndarray
    """bool (N,), whether tokens at the end of the text were left out."""

    def columns(self) -> dict[str, pa.Array]:
        """Return the columns of COLUMNS."""
        offsets = np.concatenate([[0], np.cumsum(self.num_chunks_N)]).astype(np.int32)
        windows = pa.ListArray.from_arrays(pa.array(offsets), self.ids)
        return {
            "windows": windows,
            "num_tokens": pa.array(self.num_tokens_N, pa.int32()),
            "is_cut": pa.array(self.is_cut_N, pa.bool_()),
        }

    @classmethod
    def of(cls, table: pa.Table) -> "Windows":
        """Take them from the columns of a table."""
        columns = {name: table[name].combine_chunks() for name in COLUMNS}
        return cls(
            ids=columns["windows"].flatten(),
            num_chunks_N=columns["windows"].value_lengths().to_numpy(),
            num_tokens_N=columns["num_tokens"].to_numpy(),
            is_cut_N=columns["is_cut"].to_numpy(zero_copy_only=False),
        )


def cut(
    tokenizer: "PreTrainedTokenizerBase", texts: list[str], *, max_length: int, long_text: LongTextSettings
) -> Windows:
    """Tokenize and cut. Each window has at most max_length tokens and repeats the last `stride` of the one before.

    The special tokens stand in every window; `stride` does not count them.
    """
    if not texts:
        return Windows.of(pa.table({name: pa.array([], kind) for name, kind in COLUMNS.items()}))
    chunks = long_text.mode == "chunk"
    stride, max_chunks = (long_text.stride, long_text.max_chunks) if chunks else (0, 1)
    encoded = tokenizer(
        texts,
        truncation=True,
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    owners_W = np.array(encoded["overflow_to_sample_mapping"])
    num_all_N = np.bincount(owners_W, minlength=len(texts))
    num_chunks_N = np.minimum(num_all_N, max_chunks)
    position_W = np.arange(len(owners_W)) - (np.cumsum(num_all_N) - num_all_N)[owners_W]
    kept_W = position_W < max_chunks
    windows = [ids for ids, kept in zip(encoded["input_ids"], kept_W, strict=True) if kept]
    ids = pa.array(windows, pa.list_(pa.int32()))
    repeated = stride + tokenizer.num_special_tokens_to_add()
    read_N = np.bincount(owners_W[kept_W], weights=num_tokens(ids)) - repeated * (num_chunks_N - 1)
    return Windows(ids, num_chunks_N.astype(np.int32), read_N.astype(np.int32), num_all_N > max_chunks)


def run(classifier: "Classifier", windows: Windows, *, token_budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Score every window as a row of its own, then return one row per text: float32 logits (N, C) and CLS (N, H)."""
    logits_WC, cls_WH = classifier.run(windows.ids, token_budget=token_budget)
    return pool(logits_WC, windows), pool(cls_WH, windows)


def pool(outputs_WX: np.ndarray, windows: Windows) -> np.ndarray:
    """Average the windows of each text, weighted by their tokens, special ones included: (N, X) of the same dtype.

    Computed in float64, each text for itself; a text of one window keeps its numbers to the last bit.
    """
    lengths_W = num_tokens(windows.ids)
    starts_N = np.cumsum(windows.num_chunks_N) - windows.num_chunks_N
    pooled_NX = outputs_WX[starts_N] if len(starts_N) < len(outputs_WX) else outputs_WX
    for text in np.flatnonzero(windows.num_chunks_N > 1):
        rows = slice(starts_N[text], starts_N[text] + windows.num_chunks_N[text])
        pooled_NX[text] = np.average(outputs_WX[rows], axis=0, weights=lengths_W[rows])
    return pooled_NX

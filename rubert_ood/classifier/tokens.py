"""Texts to token ids, and token ids to batches without much padding.

Shapes: N ads, L tokens of the longest ad in a batch.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize(tokenizer: "PreTrainedTokenizerBase", texts: list[str], max_length: int) -> pa.ListArray:
    """Return the token ids of each text, unpadded, special tokens included, cut at max_length: list<int32>."""
    if not texts:
        return pa.array([], pa.list_(pa.int32()))
    encoded = tokenizer(
        texts, truncation=True, max_length=max_length, return_attention_mask=False, return_token_type_ids=False
    )
    return pa.array(encoded["input_ids"], pa.list_(pa.int32()))


def num_tokens(ids: pa.ListArray) -> np.ndarray:
    """Count the tokens of each text: int64 (N,)."""
    return np.diff(np.asarray(ids.offsets)).astype(np.int64)


def length_batches(lengths_N: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Group ads of like length, longest first, so that rows x longest <= token_budget; an ad alone may exceed it.

    Returns index arrays that together hold each of 0..N-1 once.
    """
    order_N = np.argsort(-lengths_N, kind="stable")
    batches, start = [], 0
    while start < len(order_N):
        size = max(1, token_budget // max(1, int(lengths_N[order_N[start]])))
        batches.append(order_N[start : start + size])
        start += size
    return batches


def num_padding(lengths_N: np.ndarray, token_budget: int) -> int:
    """Count the padding tokens in length_batches of texts of these lengths."""
    batches = [lengths_N[rows] for rows in length_batches(lengths_N, token_budget)]
    return sum(int(lengths.max() * len(lengths) - lengths.sum()) for lengths in batches)


def pack(ids: pa.ListArray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay the chosen ads out one after another: int64 ids (T,), and the length of each ad, int64 (n,)."""
    offsets, values = np.asarray(ids.offsets), np.asarray(ids.values)
    starts, lengths = offsets[rows], (offsets[rows + 1] - offsets[rows]).astype(np.int64)
    chosen = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
    return values[chosen].astype(np.int64), lengths


def pad(ids: pa.ListArray, rows: np.ndarray, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Lay the chosen ads out as a matrix: int64 ids (n, L) filled up with pad_id, int64 attention mask (n, L)."""
    ids_T, lengths = pack(ids, rows)
    mask_NL = np.arange(lengths.max(initial=0))[None, :] < lengths[:, None]
    ids_NL = np.full(mask_NL.shape, pad_id, dtype=np.int64)
    ids_NL[mask_NL] = ids_T
    return ids_NL, mask_NL.astype(np.int64)

"""Texts to token ids, and token ids to batches without much padding.

Shapes: N ads, L tokens of the longest ad in a batch.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from rubert_ood.classifier.fast_tokens import token_ids
from rubert_ood.classifier.shorten import MARGIN_TOKENS, shortened_tokens
from rubert_ood.classifier.tokenizer import TextTokenizer

CHARACTERS_PER_TOKEN = 8
"""Of a text, so many characters for each token that is wanted are tokenized first. Russian takes
about five."""
SHARED_BY, SMALLEST_BATCH = (8, 4), 512
"""Packed batches come in the first such multiple in which each has so many tokens. It must not
depend on the machine, as the last bits of a score depend on the batch."""
SLICE_CHARACTERS = 500_000
"""Characters that are tokenized at a time: some hundred megabytes in the tokenizer."""


def first_tokens(
    tokenizer: TextTokenizer, texts: list[str], limit: int
) -> tuple[list[list[int]], np.ndarray]:
    """Return at most `limit` token ids of each text, from its start, without special tokens.

    They are those that the whole text begins with; of a long one only a beginning is tokenized, up
    to a space, so that memory does not grow with the texts. The second value says which texts have
    more tokens: bool (N,).
    """
    backend = tokenizer.backend
    heads = [_head(text, limit * CHARACTERS_PER_TOKEN) for text in texts]
    found, has_more = [], []
    for rows in _slices(heads):
        ids_of_heads = token_ids(backend, heads[rows])
        for text, head, ids in zip(texts[rows], heads[rows], ids_of_heads, strict=True):
            is_whole = len(head) == len(text)
            if not is_whole and len(ids) < limit + MARGIN_TOKENS:
                ids, is_whole = shortened_tokens(backend, text, limit)
            found.append(ids[:limit])
            has_more.append(not is_whole or len(ids) > limit)
    return found, np.array(has_more, dtype=bool)


def tokenize(tokenizer: TextTokenizer, texts: list[str], max_length: int) -> pa.ListArray:
    """Return the unpadded token ids of each text, special ones included, cut: list<int32>."""
    before, behind = tokenizer.before, tokenizer.behind
    found, _ = first_tokens(tokenizer, texts, max_length - len(before) - len(behind))
    return pa.array([before + ids + behind for ids in found], pa.list_(pa.int32()))


def _head(text: str, num_characters: int) -> str:
    """Cut a text at the last space within so many characters; without one, nothing is left."""
    return (
        text
        if len(text) <= num_characters
        else text[: max(text.rfind(" ", 0, num_characters), 0)]
    )


def _slices(texts: list[str]) -> Iterator[slice]:
    """Yield consecutive texts of about SLICE_CHARACTERS together."""
    start = characters = 0
    for number, text in enumerate(texts):
        characters += len(text)
        if characters >= SLICE_CHARACTERS:
            yield slice(start, number + 1)
            start, characters = number + 1, 0
    if start < len(texts):
        yield slice(start, len(texts))


def num_tokens(ids: pa.ListArray) -> np.ndarray:
    """Count the tokens of each text: int64 (N,)."""
    return np.diff(np.asarray(ids.offsets)).astype(np.int64)


def length_batches(lengths_N: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Group ads of like length, longest first: rows x longest <= token_budget, or one ad.

    Returns index arrays that together hold each of 0..N-1 once.
    """
    order_N = np.argsort(-lengths_N, kind="stable")
    batches, start = [], 0
    while start < len(order_N):
        size = max(1, token_budget // max(1, int(lengths_N[order_N[start]])))
        batches.append(order_N[start : start + size])
        start += size
    return batches


def packed_batches(lengths_N: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Group ads of like length, longest first, into batches of about as many tokens each.

    Each has at most token_budget tokens, without padding, or one ad. Where they do not get too
    small for it, their number is a multiple of one of SHARED_BY, so that threads with a batch each
    end together. Returns index arrays that together hold each of 0..N-1 once.
    """
    order_N = np.argsort(-lengths_N, kind="stable")
    ends_N = np.cumsum(lengths_N[order_N])
    total = int(lengths_N.sum())
    num_left = -(-total // token_budget)
    for multiple in SHARED_BY:
        rounded = -(-num_left // multiple) * multiple
        if total >= rounded * SMALLEST_BATCH:
            num_left = rounded
            break
    batches, start, done = [], 0, 0
    while start < len(order_N):
        wanted = done + -(-(total - done) // max(1, num_left))
        enough = int(np.searchsorted(ends_N, wanted)) + 1
        at_most = int(np.searchsorted(ends_N, done + token_budget, side="right"))
        end = max(start + 1, min(enough, at_most))
        batches.append(order_N[start:end])
        start, done, num_left = end, int(ends_N[end - 1]), num_left - 1
    return batches


def num_padding(lengths_N: np.ndarray, token_budget: int) -> int:
    """Count the padding tokens in length_batches of texts of these lengths."""
    batches = [lengths_N[rows] for rows in length_batches(lengths_N, token_budget)]
    return sum(int(lengths.max() * len(lengths) - lengths.sum()) for lengths in batches)


def pack(ids: pa.ListArray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay the chosen ads out in a row: int64 ids (T,), and the length of each, int64 (n,)."""
    offsets, values = np.asarray(ids.offsets), np.asarray(ids.values)
    starts, lengths = offsets[rows], (offsets[rows + 1] - offsets[rows]).astype(np.int64)
    chosen = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(
        lengths.sum()
    )
    return values[chosen].astype(np.int64), lengths


def pad(
    ids: pa.ListArray, rows: np.ndarray, pad_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lay the chosen ads out as a matrix: ids (n, L) filled up with pad_id, mask (n, L); int64."""
    ids_T, lengths = pack(ids, rows)
    mask_NL = np.arange(lengths.max(initial=0))[None, :] < lengths[:, None]
    ids_NL = np.full(mask_NL.shape, pad_id, dtype=np.int64)
    ids_NL[mask_NL] = ids_T
    return ids_NL, mask_NL.astype(np.int64)

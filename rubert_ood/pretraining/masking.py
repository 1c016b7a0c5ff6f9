"""Which tokens are hidden from the network, and by what: whole words, drawn anew in each epoch.

The rule is that of BERT with whole words: of the words a share is chosen; of the tokens of those
80 % become the mask token, 10 % any token, 10 % stay. `DataCollatorForLanguageModeling` of
transformers pads, and hides whole words by the mask token alone.

Shapes: T tokens of a batch, one ad after another; M chosen ones; V ids of the tokenizer.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

REPLACED, RANDOM = 0.8, 0.1
"""Shares of the chosen tokens that become the mask token, and any token."""
WORD_STARTS = {"Metaspace": "▁", "ByteLevel": "Ġ"}
"""By the decoder of a tokenizer: what begins a word. WordPiece marks what goes on instead."""


@dataclass(frozen=True)
class Masked:
    """A batch with hidden words."""

    ids_T: np.ndarray
    """int64; what the network reads."""
    places_M: np.ndarray
    """int64, ascending: the chosen tokens."""
    hidden_M: np.ndarray
    """int64; what stood there."""


@dataclass(frozen=True)
class Masker:
    """Hides words of texts that one tokenizer cut; it travels to the workers."""

    mask_id: int
    ordinary_ids: np.ndarray
    """int64; those that are not special, and may stand for another."""
    starts_word_V: np.ndarray
    """bool; special ones do as well."""
    share: float

    @classmethod
    def of(cls, tokenizer: Any, share: float) -> "Masker":
        """Learn from a fast tokenizer with a mask token which of its ids begin a word."""
        numbers_V = np.arange(len(tokenizer))
        special = tokenizer.all_special_ids
        tokens = tokenizer.convert_ids_to_tokens(numbers_V.tolist())
        starts_V = _word_starts(tokenizer, tokens)
        starts_V[special] = True
        return cls(
            mask_id=tokenizer.mask_token_id,
            ordinary_ids=np.setdiff1d(numbers_V, special),
            starts_word_V=starts_V,
            share=share,
        )

    @cached_property
    def _is_ordinary_V(self) -> np.ndarray:
        numbers_V = np.arange(len(self.starts_word_V))
        return np.isin(numbers_V, self.ordinary_ids)

    def hide(self, ids_T: np.ndarray, rng: np.random.Generator) -> Masked:
        """Choose words and hide them; at least one, where there is any."""
        is_ordinary_T = self._is_ordinary_V[ids_T]
        starts_T = self.starts_word_V[ids_T]
        word_T = np.cumsum(starts_T) - starts_T[0]
        chosen_W = rng.random(word_T[-1] + 1) < self.share
        chosen_T = chosen_W[word_T] & is_ordinary_T
        if not chosen_T.any():
            place = rng.choice(np.flatnonzero(is_ordinary_T))
            is_word_T = word_T == word_T[place]
            chosen_T = is_word_T & is_ordinary_T
        places_M = np.flatnonzero(chosen_T)
        hidden_M = ids_T[places_M]
        shown_T = ids_T.copy()
        shown_T[places_M] = self._shown(hidden_M, rng)
        return Masked(shown_T, places_M, hidden_M)

    def _shown(self, hidden_M: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return what stands in the place of hidden tokens."""
        kind_M = rng.random(len(hidden_M))
        others_M = rng.choice(self.ordinary_ids, len(hidden_M))
        shown_M = np.where(kind_M < REPLACED, self.mask_id, others_M)
        stays_M = kind_M >= REPLACED + RANDOM
        return np.where(stays_M, hidden_M, shown_M)


def _word_starts(tokenizer: Any, tokens: list[str]) -> np.ndarray:
    """Say of each id whether it begins a word: bool (V,)."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    prefix = state["model"].get("continuing_subword_prefix")
    if prefix:
        return np.array([not token.startswith(prefix) for token in tokens])
    decoder = (state.get("decoder") or {}).get("type", "")
    mark = WORD_STARTS.get(decoder, "")  # without one each token is a word
    return np.array([token.startswith(mark) for token in tokens])

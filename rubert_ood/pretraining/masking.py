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
        tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        special = set(tokenizer.all_special_ids)
        ordinary = [number for number in range(len(tokens)) if number not in special]
        starts_V = _word_starts(tokenizer, tokens)
        starts_V[list(special)] = True
        return cls(tokenizer.mask_token_id, np.array(ordinary), starts_V, share)

    @cached_property
    def _is_ordinary_V(self) -> np.ndarray:
        return np.isin(np.arange(len(self.starts_word_V)), self.ordinary_ids)

    def hide(self, ids_T: np.ndarray, rng: np.random.Generator) -> Masked:
        """Choose words and hide them; at least one, where there is any."""
        is_ordinary_T = self._is_ordinary_V[ids_T]
        starts_T = self.starts_word_V[ids_T]
        word_T = np.cumsum(starts_T) - starts_T[0]
        chosen_W = rng.random(word_T[-1] + 1) < self.share
        chosen_T = chosen_W[word_T] & is_ordinary_T
        if not chosen_T.any():
            word = word_T[rng.choice(np.flatnonzero(is_ordinary_T))]
            chosen_T = (word_T == word) & is_ordinary_T
        places_M = np.flatnonzero(chosen_T)
        kind_M = rng.random(len(places_M))
        others_M = rng.choice(self.ordinary_ids, len(places_M))
        shown_M = np.where(kind_M < REPLACED, self.mask_id, ids_T[places_M])
        is_other_M = (kind_M >= REPLACED) & (kind_M < REPLACED + RANDOM)
        shown_T = ids_T.copy()
        shown_T[places_M] = np.where(is_other_M, others_M, shown_M)
        return Masked(shown_T, places_M, ids_T[places_M])


def _word_starts(tokenizer: Any, tokens: list[str]) -> np.ndarray:
    """Say of each id whether it begins a word: bool (V,)."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    prefix = state["model"].get("continuing_subword_prefix")
    if prefix:
        return np.array([not token.startswith(prefix) for token in tokens])
    decoder = (state.get("decoder") or {}).get("type", "")
    mark = WORD_STARTS.get(decoder, "")  # without one each token is a word
    return np.array([token.startswith(mark) for token in tokens])

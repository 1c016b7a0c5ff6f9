"""Texts to token ids, with neither torch nor transformers: what every process of a run reads with.

A bundle holds tokenizer.json as the network was fitted with it, and beside it which of its ids are
special. transformers would build the tokenizer from tokenizer_config.json as well, and not always
what tokenizer.json says; it is asked when a bundle is written (bundle/tokenizer.py), and here for
base models, and for the bundles that lack special_ids.json.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from rubert_ood.classifier.local_checkpoint import local_checkpoint
from rubert_ood.errors import BundleError

TOKENIZER, SPECIAL_IDS = "tokenizer.json", "special_ids.json"
FORMAT = 1


class SpecialIds(BaseModel):
    """special_ids.json: which ids of tokenizer.json are not of texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = Field(FORMAT, ge=FORMAT, le=FORMAT)
    cls: int = Field(ge=0)
    """Stands first in every window."""
    pad: int = Field(ge=0)
    """Fills up batches where a network wants them padded."""
    unknown: int | None = Field(None, ge=0)
    """Stands for what has no token; null where everything has one."""
    special: list[int]
    """All of them, those above included, ascending."""
    splits_special: bool = False
    """Whether `[CLS]` in a text is read as five characters, not as the special token."""

    @classmethod
    def of(cls, pretrained: Any) -> "SpecialIds":
        """Ask a fast tokenizer of transformers."""
        return cls(
            cls=pretrained.cls_token_id,
            pad=pretrained.pad_token_id,
            unknown=pretrained.unk_token_id,
            special=sorted(set(pretrained.all_special_ids)),
            splits_special=pretrained.backend_tokenizer.encode_special_tokens,
        )


class TextTokenizer:
    """The tokenizer of a network. It owns its backend, which neither cuts nor fills up."""

    def __init__(self, backend: Tokenizer, ids: SpecialIds) -> None:
        """Raise ValueError unless the backend puts CLS first and knows the special ids."""
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = ids.splits_special
        self.backend, self.ids = backend, ids
        self.before, self.behind = _frame(backend)
        """Special tokens that stand before and behind every text."""
        _check(self)

    @classmethod
    def of(cls, pretrained: Any) -> "TextTokenizer":
        """Take over what a fast tokenizer of transformers does, which is left as it is."""
        backend = Tokenizer.from_str(pretrained.backend_tokenizer.to_str())
        return cls(backend, SpecialIds.of(pretrained))

    @classmethod
    def read(cls, folder: str) -> "TextTokenizer":
        """Read tokenizer.json and special_ids.json; ValueError on what they do not hold."""
        data = Path(folder, SPECIAL_IDS).read_bytes()
        return cls(read_backend(folder), SpecialIds.model_validate_json(data))

    def is_special(self, ids_T: np.ndarray) -> np.ndarray:
        """Say which ids are special ones, or stand for what has no token: bool (T,)."""
        return np.isin(ids_T, self.ids.special)

    def token(self, number: int) -> str:
        """Return how a token is written."""
        return str(self.backend.id_to_token(number))


def read_backend(folder: str) -> Tokenizer:
    """Read tokenizer.json; ValueError when it does not hold a tokenizer."""
    try:
        return Tokenizer.from_file(os.path.join(folder, TOKENIZER))
    except Exception as error:  # the library raises nothing narrower
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"it does not hold a tokenizer ({reason})") from error


def save_tokenizer(pretrained: Any, folder: str) -> None:
    """Save a fast tokenizer of transformers, which then is not needed to read it."""
    pretrained.save_pretrained(folder)
    ids = SpecialIds.of(pretrained)
    Path(folder, SPECIAL_IDS).write_text(ids.model_dump_json(), "utf-8")


def load_tokenizer(uri: str) -> TextTokenizer:
    """Load the tokenizer of a bundle or a checkpoint: a folder, a hub name or an s3:// URI.

    Raises BundleError unless it puts CLS first and has a pad token.
    """
    try:
        folder = local_checkpoint(uri)
        if os.path.exists(os.path.join(folder, SPECIAL_IDS)):
            return TextTokenizer.read(folder)
        # what it imports takes seconds
        from rubert_ood.classifier.checkpoint import load_pretrained_tokenizer

        return TextTokenizer.of(load_pretrained_tokenizer(uri))
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"{uri}: the tokenizer does not load: {reason}. Use another checkpoint"
        ) from error


def largest_id(backend: Tokenizer) -> int:
    """Return the largest id of a tokenizer, which wants an embedding; -1 without any."""
    return max(backend.get_vocab(with_added_tokens=True).values(), default=-1)


def _frame(backend: Tokenizer) -> tuple[list[int], list[int]]:
    """Return what stands before and behind a text; ValueError where a text has no tokens."""
    try:
        encoding = backend.encode("a")
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(" ".join(str(error).split())[:200]) from error
    text = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
    if not len(text):
        raise ValueError("it makes no token of a letter")
    return encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]


def _check(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.ids
    if tokenizer.before[:1] != [ids.cls]:
        raise ValueError(f"the tokenizer does not put the id {ids.cls} first, as CLS")
    named = {ids.cls, ids.pad} if ids.unknown is None else {ids.cls, ids.pad, ids.unknown}
    if not named <= set(ids.special):
        raise ValueError(
            "the ids of CLS, pad and what is unknown are not among the special ones"
        )
    for number in ids.special:
        is_id = 0 <= number < 2**32  # the library takes no other number
        if not is_id or tokenizer.backend.id_to_token(number) is None:
            raise ValueError(f"the tokenizer has no token with the id {number}")

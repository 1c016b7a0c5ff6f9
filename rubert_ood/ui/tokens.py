"""The tokens of an ad, as the model reads them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONTINUES = "##"
"""What WordPiece writes before a token that goes on with a word."""
MAX_SHOWN = 600

Kind = Literal["word", "piece", "special", "unknown"]


@dataclass(frozen=True)
class Token:
    """One token of a window."""

    text: str
    kind: Kind


def tokens_of(
    tokenizer: "PreTrainedTokenizerBase", windows: list[list[int]]
) -> list[list[Token]]:
    """Return the tokens of each window by their ids; at most MAX_SHOWN in all."""
    shown, left = [], MAX_SHOWN
    for ids in windows:
        names = tokenizer.convert_ids_to_tokens(ids[:left])
        left -= len(names)
        tokens = []
        for number, name in zip(ids, names, strict=False):
            tokens.append(_token(tokenizer, number, name))
        if tokens:
            shown.append(tokens)
    return shown


def num_characters_read(
    tokenizer: "PreTrainedTokenizerBase", cleaned: str, num_tokens: int
) -> int:
    """Return how many characters of a cleaned text its first tokens cover, special ones apart."""
    encoding = tokenizer.backend_tokenizer.encode(cleaned, add_special_tokens=False)
    read = encoding.offsets[: max(num_tokens, 0)]
    return int(read[-1][1]) if read else 0


def _token(tokenizer: "PreTrainedTokenizerBase", number: int, name: str) -> Token:
    if number == tokenizer.unk_token_id:
        return Token(name, "unknown")
    if number in tokenizer.all_special_ids:
        return Token(name, "special")
    if name.startswith(CONTINUES):
        return Token(name.removeprefix(CONTINUES), "piece")
    return Token(name, "word")

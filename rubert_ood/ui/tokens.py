"""The tokens of an ad, as the model reads them."""

from dataclasses import dataclass
from typing import Literal

from rubert_ood.classifier.tokenizer import TextTokenizer

CONTINUES = "##"
"""What WordPiece writes before a token that goes on with a word."""
MAX_SHOWN = 600

Kind = Literal["word", "piece", "special", "unknown"]


@dataclass(frozen=True)
class Token:
    """One token of a window."""

    text: str
    kind: Kind


def tokens_of(tokenizer: TextTokenizer, windows: list[list[int]]) -> list[list[Token]]:
    """Return the tokens of each window by their ids; at most MAX_SHOWN in all."""
    shown, left = [], MAX_SHOWN
    for ids in windows:
        tokens = []
        for number in ids[:left]:
            tokens.append(_token(tokenizer, number))
        left -= len(tokens)
        if tokens:
            shown.append(tokens)
    return shown


def num_characters_read(tokenizer: TextTokenizer, cleaned: str, num_tokens: int) -> int:
    """Return how many characters of a cleaned text its first tokens cover, special ones apart."""
    encoding = tokenizer.backend.encode(cleaned, add_special_tokens=False)
    read = encoding.offsets[: max(num_tokens, 0)]
    return int(read[-1][1]) if read else 0


def _token(tokenizer: TextTokenizer, number: int) -> Token:
    name = tokenizer.token(number)
    if number == tokenizer.ids.unknown:
        return Token(name, "unknown")
    if number in tokenizer.ids.special:
        return Token(name, "special")
    if name.startswith(CONTINUES):
        return Token(name.removeprefix(CONTINUES), "piece")
    return Token(name, "word")

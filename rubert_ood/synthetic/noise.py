"""How sellers write: typing errors, capitals, emoji, sloppy punctuation, phone numbers."""

from dataclasses import dataclass
from random import Random

PHONE, CITY, CITY_IN = "\x01", "\x02", "\x03"
"""Marks that stand for the phone number and the city until an ad, or a re-post of it, is filled
in."""

CARELESS_SHARE = 0.3
CARELESS_TYPO_RATE = 0.05
CAREFUL_TYPO_RATE = 0.006

KEYBOARD_ROWS = ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю")
NEXT_KEY = {
    a: b for row in KEYBOARD_ROWS for a, b in zip(row, row[1:] + row[-2], strict=True)
}
SOUNDS_LIKE = {
    "о": "а",
    "а": "о",
    "е": "и",
    "и": "е",
    "д": "т",
    "з": "с",
    "щ": "ш",
    "ё": "е",
    "б": "п",
    "ь": "",
}

SEPARATORS = (
    ". ",
    ". ",
    ". ",
    ". ",
    ", ",
    ", ",
    "\n",
    "\n",
    "; ",
    "! ",
    " - ",
    " ",
    "...",
)


@dataclass(frozen=True)
class Style:
    """The habits of one seller."""

    typo_rate: float
    """Typing errors a word."""
    writes_yo: bool
    lower_case: bool
    capital_title: bool
    capital_body: bool
    separator: str
    emoji: str
    """Put between sentences; empty for most sellers."""
    glued_commas: bool


def draw_style(rng: Random, emoji: tuple[str, ...]) -> Style:
    """Draw how one seller writes."""
    return Style(
        typo_rate=CARELESS_TYPO_RATE
        if rng.random() < CARELESS_SHARE
        else CAREFUL_TYPO_RATE,
        writes_yo=rng.random() < 0.2,
        lower_case=rng.random() < 0.2,
        capital_title=rng.random() < 0.06,
        capital_body=rng.random() < 0.02,
        separator=SEPARATORS[int(rng.random() * len(SEPARATORS))],
        emoji=emoji[int(rng.random() * len(emoji))] if rng.random() < 0.08 else "",
        glued_commas=rng.random() < 0.06,
    )


def misspell(word: str, rng: Random) -> str:
    """Put one typing error into a word, unless it is short or has digits or marks."""
    if len(word) < 4 or not word.isalpha():
        return word
    place, kind = 1 + int(rng.random() * (len(word) - 2)), rng.random()
    letter = word[place]
    if kind < 0.3:
        return word[:place] + word[place + 1 :]
    if kind < 0.5:
        return word[:place] + word[place + 1] + letter + word[place + 2 :]
    if kind < 0.6:
        return word[:place] + letter + word[place:]
    table = SOUNDS_LIKE if kind < 0.85 else NEXT_KEY
    return word[:place] + table.get(letter, letter) + word[place + 1 :]


def roughen(text: str, style: Style, rng: Random) -> str:
    """Rewrite a text as a seller of this style types it."""
    if not style.writes_yo:
        text = text.replace("ё", "е").replace("Ё", "Е")
    if style.glued_commas:
        text = text.replace(", ", ",")
    words = text.split(" ")
    expected = len(words) * style.typo_rate
    num_typos = int(expected) + (rng.random() < expected % 1)
    for _ in range(num_typos):
        place = int(rng.random() * len(words))
        words[place] = misspell(words[place], rng)
    text = " ".join(words)
    return text.lower() if style.lower_case else text


def phone_number(rng: Random) -> str:
    """Write a random mobile number in one of the forms that ads use."""
    digits = f"9{int(rng.random() * 1e9):09d}"
    a, b, c, d = digits[:3], digits[3:6], digits[6:8], digits[8:]
    forms = (
        f"+7 {a} {b}-{c}-{d}",
        f"8({a}){b}-{c}-{d}",
        f"8-{a}-{b}-{c}-{d}",
        f"8{digits}",
        f"+7{digits}",
        f"8 {a} {b} {c} {d}",
        f"+7 ({a}) {b}-{c}-{d}",
        f"8.{a}.{b}.{c}.{d}",
        " ".join("8" + digits),
        f"8 {a} {b}{c}{d}",
        f"8-{a}-{b + c + d}".replace("0", "о"),
    )
    return forms[int(rng.random() ** 1.5 * len(forms))]

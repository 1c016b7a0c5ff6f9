"""How a run knows an ad: by the key of its cleaned text.

Of an ad of more than HEAD_CHARACTERS it is the key of its cleaned head and of its rest as it is
written: so an ad of megabytes costs what its head costs.
"""

from dataclasses import dataclass

from rubert_ood.ads.text import TextCleaner, text_key

HEAD_CHARACTERS = 8_192


@dataclass(frozen=True, slots=True)
class KnownAd:
    """What an ad is known by."""

    key: str
    """The text_key of the run; "" where nothing is left after cleaning."""
    cleaned: str
    """Of the whole ad, or of its head."""
    is_long: bool
    """Whether only its head is cleaned."""


def known_ad(ad: str, cleaner: TextCleaner) -> KnownAd:
    """Clean an ad as it is written, or its head, and return what it is known by."""
    size = _head_size(ad)
    cleaned, is_long = cleaner.clean(ad[:size]), size < len(ad)
    if not cleaned and not is_long:
        return KnownAd("", "", is_long)
    key = text_key(cleaned)
    if is_long:  # a cleaned text has no capital letters, and so never this key
        key = text_key(f"LONG {key} {text_key(ad[size:])}")
    return KnownAd(key, cleaned, is_long)


def _head_size(ad: str) -> int:
    if len(ad) <= HEAD_CHARACTERS:
        return len(ad)
    space = ad.rfind(" ", HEAD_CHARACTERS // 2, HEAD_CHARACTERS)
    return space if space > 0 else HEAD_CHARACTERS

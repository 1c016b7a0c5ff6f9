from hashlib import blake2b

import pytest

from rubert_ood.ads.ad_key import HEAD_CHARACTERS, known_ad
from rubert_ood.ads.text import TextCleaner

CLEANER = TextCleaner(cities=["Москва"])


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def test_ad_is_known_by_its_cleaned_text():
    known = known_ad("Продам ДИВАН,  Москва 8 912 345-67-89", CLEANER)
    assert (known.key, known.cleaned) == (_hash("диван,"), "диван,")
    assert not known.is_long


@pytest.mark.parametrize("ad", ["", " ", "Продам Москва", "8 912 345-67-89"])
def test_ad_of_which_nothing_is_left_has_no_key(ad):
    assert known_ad(ad, CLEANER).key == ""


def test_long_ad_is_known_by_its_cleaned_head_and_its_rest_as_written():
    words = ["Слово"] * (HEAD_CHARACTERS // 6)
    head = " ".join(words)
    rest = " Москва ПРОДАМ 8 912 345-67-89"
    known = known_ad(head + rest, CLEANER)
    assert known.is_long
    assert known.cleaned == head.lower()
    assert known.key == _hash(f"LONG {_hash(head.lower())} {_hash(rest)}")
    assert known_ad(head + rest + "!", CLEANER).key != known.key


def test_long_ad_of_noise_alone_has_a_key():
    known = known_ad("продам " * HEAD_CHARACTERS, CLEANER)
    assert known.cleaned == ""
    assert known.key

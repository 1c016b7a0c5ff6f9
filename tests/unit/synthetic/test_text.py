"""The texts of generated ads, taken together: lengths, noise, ads that hardly say anything."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from rubert_ood.synthetic import text as module

DATA_DIR = Path(module.__file__).parent / "data"


def test_ad_lengths_are_heavy_tailed(texts: list[str]) -> None:
    num_words = np.array([len(text.split()) for text in texts])
    median, p90, p99 = np.quantile(num_words, [0.5, 0.9, 0.99])
    assert 18 <= median <= 24
    assert 70 <= p90 <= 100
    assert 200 <= p99 <= 350
    assert 35 <= num_words.mean() <= 45
    assert (num_words >= 500).sum() >= 5
    assert num_words.max() < 2000


def test_ad_texts_have_the_noise_of_real_ads(
    training_set: pa.Table, texts: list[str]
) -> None:
    everything = "\n".join(texts)
    forms = [
        r"\+7 9\d\d \d{3}-",
        r"8\(9\d\d\)",
        r"8-9\d\d-",
        r"\b89\d{9}",
        r"\+79\d{9}",
        r"8 9 \d \d \d",
        r"\d-\d*о",
    ]
    for form in forms:
        assert len(re.findall(form, everything)) >= 10, form
    assert sum("✅" in text or "🔥" in text for text in texts) > 20
    assert (
        0.03
        < np.mean([title.isupper() for title in training_set["title"].to_pylist()])
        < 0.1
    )
    assert not re.search(r"[{}\x01\x02\x03]", everything)


def test_ad_texts_of_which_a_share_hardly_says_what_it_sells(texts: list[str]) -> None:
    anyones = (DATA_DIR / "phrases.yaml").read_text(encoding="utf-8") + (
        DATA_DIR / "cities.yaml"
    ).read_text("utf-8")
    anyones_words = set(re.findall(r"[а-яё]{4,}", anyones.lower())) | set(
        re.findall(r"[а-яё]{4,}", anyones.lower().replace("ё", "е"))
    )
    silent = [
        set(re.findall(r"[^\W\d]{4,}", text.lower())) <= anyones_words for text in texts
    ]
    assert 0.008 < np.mean(silent) < 0.03

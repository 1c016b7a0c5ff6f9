from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubert_ood.ads import ad_key
from rubert_ood.ads.ad_key import HEAD_CHARACTERS
from rubert_ood.ads.text import text_key
from rubert_ood.classifier import fold
from rubert_ood.classifier.fold import TextFolder
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.classifier.windows import Windows, cut

PIECES = [
    "диван",
    " угловой",
    " ",
    ", ",
    "Москва",
    " ПРОДАМ ",
    "в наличии",
    "8 912 345-67-89 ",
    "+7 (900)",
    "1 2 ",
]
PIECES += ["\u200b", "\0", "ж", ".", "ѣ ", "-"]
runs = st.tuples(st.sampled_from(PIECES), st.sampled_from([1, 1, 2, 3, 40, 300]))
ads_of_all_kinds = st.lists(runs, max_size=12).map(
    lambda items: "".join(piece * count for piece, count in items)
)
PEAK = Path("/proc/self/status")


@pytest.fixture(scope="module")
def tokenizer(bundle):
    return load_tokenizer(bundle.folder)


def folded(bundle, tokenizer, ads: list[str]):
    """Return the table of texts, and per ad its row in there (None: nothing to read)."""
    folder = TextFolder(bundle.cleaner, tokenizer, bundle.text)
    for ad in ads:
        folder.add(ad)
    table, text_index = folder.finish()
    return table, text_index.to_pylist()


@given(
    st.lists(ads_of_all_kinds, max_size=6),
    st.sampled_from([60, 500, 10**6]),
    st.sampled_from([200, 2000]),
)
def test_fold_head_of_an_ad_has_the_tokens_of_the_whole_ad(
    bundle, tokenizer, ads, pending, head
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "PENDING_CHARACTERS", pending)
        patch.setattr(ad_key, "HEAD_CHARACTERS", head)
        patch.setattr(fold, "MARGIN_CHARACTERS", 60)
        table, rows = folded(bundle, tokenizer, ads)
    cleaned = [bundle.cleaner.clean(ad) for ad in ads]
    read = cut(tokenizer, cleaned, bundle.text)
    special = set(tokenizer.ids.special)
    ids = table["windows"].to_pylist()
    for number, row in enumerate(rows):
        (expected,) = read.ids.to_pylist()[number : number + 1]
        if row is None:
            assert set(expected) <= special
            continue
        assert ids[row] == [expected]
        assert table["num_tokens"][row].as_py() == read.num_tokens_N[number]
        assert table["is_cut"][row].as_py() == read.is_cut_N[number]
        if len(ads[number]) <= head:
            assert table["text_key"][row].as_py() == text_key(cleaned[number])
            assert table["excerpt"][row].as_py() == cleaned[number][:200]
    assert sorted(set(rows) - {None}) == list(range(table.num_rows))


@given(st.lists(ads_of_all_kinds, max_size=6), st.sampled_from([60, 10**6]))
def test_fold_adds_the_logits_of_the_words_of_the_whole_ad(
    bundle, tokenizer, stack, ads, pending
):
    words = replace(stack.words, max_characters=90)
    short = replace(stack, words=words)
    folder = TextFolder(bundle.cleaner, tokenizer, bundle.text, stack=short)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "PENDING_CHARACTERS", pending)
        patch.setattr(ad_key, "HEAD_CHARACTERS", 200)
        patch.setattr(fold, "MARGIN_CHARACTERS", 60)
        for ad in ads:
            folder.add(ad)
        table, text_index = folder.finish()
    read = Windows.of(table)
    assert read.word_logits_NC.shape == (table.num_rows, len(stack.words.biases_C))
    expected_NC = short.logits([bundle.cleaner.clean(ad) for ad in ads])
    for number, row in enumerate(text_index.to_pylist()):
        if row is not None:
            np.testing.assert_array_equal(read.word_logits_NC[row], expected_NC[number])


def test_fold_adds_the_logits_of_the_words_behind_the_tokens_that_are_read(
    bundle, tokenizer, stack
):
    # 64 tokens are read of it, and 4,096 characters by the stack, though the head shrinks
    ad = f"диван {'+7 912 345-67-89 ' * 460} {'стол стул ' * 50} котёнок рыжий"
    assert len(ad) > HEAD_CHARACTERS
    folder = TextFolder(bundle.cleaner, tokenizer, bundle.text, stack=stack)
    folder.add(ad)
    table, _ = folder.finish()
    expected_NC = stack.logits([bundle.cleaner.clean(ad)])
    np.testing.assert_array_equal(Windows.of(table).word_logits_NC, expected_NC)


@given(
    st.lists(ads_of_all_kinds, max_size=8),
    st.sampled_from([60, 500, 10**6]),
    st.randoms(use_true_random=False),
)
def test_fold_takes_over_what_is_known_and_gives_every_ad_the_same_text(
    bundle, tokenizer, ads, pending, rng
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "PENDING_CHARACTERS", pending)
        patch.setattr(ad_key, "HEAD_CHARACTERS", 200)
        patch.setattr(fold, "MARGIN_CHARACTERS", 60)
        plain, plain_rows = folded(bundle, tokenizer, ads)
        keys = plain["text_key"].to_pylist()
        known = {key for key in keys if rng.random() < 0.5}

        def take_over(asked: list[str]) -> pa.Table:
            assert len(set(asked)) == len(asked)
            known_keys = [key for key in asked if key in known]
            return pa.table({"text_key": pa.array(known_keys, pa.string())})

        folder = TextFolder(bundle.cleaner, tokenizer, bundle.text, take_over)
        for ad in ads:
            folder.add(ad)
        texts, text_index = folder.finish()
        taken = folder.taken()
    assert set(taken["text_key"].to_pylist()) == known
    expected = plain.filter(pa.array([key not in known for key in keys], pa.bool_()))
    assert texts.equals(expected)
    found = [*texts["text_key"].to_pylist(), *taken["text_key"].to_pylist()]
    for row, plain_row in zip(text_index.to_pylist(), plain_rows, strict=True):
        assert (row is None) == (plain_row is None)
        assert row is None or found[row] == keys[plain_row]


def test_fold_makes_one_of_equal_texts_in_the_order_of_the_ads(bundle, tokenizer):
    ads = ["Диван", "кошка", "\u200b", "ДИВАН  продам", "", "шины", "кошка"]
    table, rows = folded(bundle, tokenizer, ads)
    assert rows == [0, 1, None, 0, None, 2, 1]
    assert table["excerpt"].to_pylist() == ["диван", "кошка", "шины"]
    assert table["text_key"].to_pylist() == [
        text_key(text) for text in ("диван", "кошка", "шины")
    ]


def test_fold_of_no_ads_is_a_table_without_rows(bundle, tokenizer):
    table, rows = folded(bundle, tokenizer, [])
    assert (table.num_rows, rows) == (0, [])
    assert len(Windows.of(table).num_tokens_N) == 0


def test_fold_keeps_long_ads_apart_that_differ_anywhere(bundle, tokenizer):
    base = "диван угловой " * 2_000
    assert len(base) > HEAD_CHARACTERS
    ads = [base, f"{base}!", f"!{base}", base, base.upper(), f"{base}{base}"]
    table, rows = folded(bundle, tokenizer, ads)
    assert rows[0] == rows[3]
    assert (
        len(set(rows)) == 5
    )  # its rest counts as it is written, so capitals make another
    assert len(set(table["text_key"].to_pylist())) == 5
    again, _ = folded(bundle, tokenizer, ads[::-1])
    assert set(again["text_key"].to_pylist()) == set(table["text_key"].to_pylist())


def test_fold_key_of_a_long_ad_cannot_be_written_as_an_ad(bundle, tokenizer):
    """An ad may hold whatever the key of another is made of: its letters become small first."""
    long = "диван угловой " * 2_000
    size = ad_key._head_size(long)
    forged = f"LONG {text_key(bundle.cleaner.clean(long[:size]))} {text_key(long[size:])}"
    _, rows = folded(bundle, tokenizer, [long, forged])
    assert rows == [0, 1]


def _peak_mb() -> int:
    line = next(
        line for line in PEAK.read_text().splitlines() if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) // 1024


@pytest.mark.skipif(not PEAK.exists(), reason="reads the peak of this process from /proc")
@pytest.mark.parametrize(
    ("ad", "is_read"),
    [
        ("диван угловой " * 2_000_000, True),
        ("диван\u200b" * 800_000, False),  # one word, which is too long for a token
        ("а " * 16_000_000, True),
        ("\u200b" * 16_000_000, False),
        ("8 " * 25_000_000, False),  # a phone number, which is removed
        ("8-" * 25_000_000, True),  # the last dash stays
    ],
    ids=[
        "words",
        "no white space",
        "words of a letter",
        "zero-width",
        "digits",
        "digits and dashes",
    ],
)
def test_fold_of_an_ad_of_megabytes_needs_a_few_times_its_size(
    bundle, tokenizer, ad, is_read
):
    folded(bundle, tokenizer, ["диван"])
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak_mb()
    table, rows = folded(bundle, tokenizer, ["диван", ad, "кошка"])
    assert _peak_mb() - before < 400
    assert (rows[0], rows[1] is not None) == (0, is_read)
    assert np.array_equal(Windows.of(table).num_windows_N, np.ones(table.num_rows))

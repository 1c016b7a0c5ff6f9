import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubert_ood.classifier import shorten, tokens
from rubert_ood.classifier.fast_tokens import token_ids
from rubert_ood.classifier.shorten import shortened_tokens, without_runs
from rubert_ood.classifier.tokenizer import TextTokenizer
from rubert_ood.classifier.tokens import first_tokens

PIECES = [
    "а",
    "Й",
    "ё",
    "x",
    "7",
    ".",
    "-",
    "<",
    "«",
    "中",
    "😀",
    "€",
    "ß",
    "ﬁ",
    "диван ",
    "квартира, ",
    "угловой",
]
PIECES += [
    "\u200b",
    "\u200d",
    "\ufe0f",
    "\0",
    "\ufffd",
    "\xad",
    "\u0301",
    "\u0306",
    "\u1100",
    "\u1161",
    "\u2800",
]
PIECES += [" ", " ", "<mask>", "[SEP]"]
runs = st.tuples(st.sampled_from(PIECES), st.sampled_from([1, 1, 2, 3, 50, 120, 450]))
hostile = st.lists(runs, max_size=25).map(
    lambda items: "".join(piece * count for piece, count in items)
)
KINDS = [
    "wordpiece",
    "wordpiece without accents",
    "bytes",
    "bytes with a space first",
    "unigram",
    "unigram that drops characters",
    "unigram over spaces",
]


def ids_of(tokenizer, text: str) -> list[int]:
    """Tokenize the whole text, by the plain call."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
@given(
    text=hostile,
    limit=st.sampled_from([1, 6, 30, 200]),
    first=st.sampled_from([1, 8]),
    second=st.sampled_from([1, 16]),
    slice_characters=st.sampled_from([7, 400]),
)
def test_shorten_keeps_the_first_tokens_of_a_hostile_text(
    tokenizers_by_kind, kind, text, limit, first, second, slice_characters
):
    tokenizer = tokenizers_by_kind[kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "CHARACTERS_PER_TOKEN", first)
        patch.setattr(shorten, "FIRST_CHARACTERS_PER_TOKEN", second)
        patch.setattr(shorten, "SLICE_CHARACTERS", slice_characters)
        (got,), has_more = first_tokens(TextTokenizer.of(tokenizer), [text], limit)
    expected = ids_of(tokenizer, text)
    assert got == expected[:limit]
    assert has_more.tolist() == [len(expected) > limit]


@pytest.mark.parametrize(
    "before",
    [
        "\u200b" * 1_000_000,
        "\0\ufeff\xad\ufffd" * 300_000,
        "ж" * 1_000_000,
        "ж" * 100 + "\u200b" * 900_000 + "ж",
    ],
    ids=["zero-width", "control", "one word", "a word with a gap"],
)
def test_shorten_finds_a_text_behind_a_million_characters(tokenizers_by_kind, before):
    tokenizer = tokenizers_by_kind["wordpiece"]
    (got,), has_more = first_tokens(
        TextTokenizer.of(tokenizer), [f"{before} диван угловой"], 196
    )
    word = [tokenizer.unk_token_id] if "ж" in before else []
    assert got == word + ids_of(tokenizer, "диван угловой")
    assert not has_more[0]


def test_shorten_reads_a_word_without_end_so_far_and_counts_it_as_cut(
    tokenizers_by_kind, monkeypatch
):
    monkeypatch.setattr(shorten, "MOST_CHARACTERS", 5_000)
    tokenizer = tokenizers_by_kind["unigram"]
    (got,), has_more = first_tokens(
        TextTokenizer.of(tokenizer), ["ѣ" * 100_000], 196
    )  # one unknown token, however long
    assert got == ids_of(tokenizer, "ѣ" * 10)
    assert len(got) < 196
    assert has_more[0]


@given(hostile, st.sampled_from([6, 30, 200]))
def test_without_runs_the_first_tokens_are_the_same(tokenizers_by_kind, text, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shorten, "RUN_CHARACTERS", 110)
        for kind in KINDS[:2]:
            backend = tokenizers_by_kind[kind].backend_tokenizer
            short = without_runs(backend, text, limit)
            whole = ids_of(tokenizers_by_kind[kind], text)
            assert ids_of(tokenizers_by_kind[kind], short)[:limit] == whole[:limit]


def test_without_runs_shortens_runs_only(tokenizers_by_kind):
    backend = tokenizers_by_kind["wordpiece"].backend_tokenizer
    assert (
        without_runs(backend, f"диван{'-' * 10**6} {'ab' * 2_000}", 196).count("-")
        < 4_000
    )
    for text in ("", "диван", "ab" * 2_000):
        assert without_runs(backend, text, 196) == text
    other = tokenizers_by_kind[
        "bytes"
    ].backend_tokenizer  # many dashes are one token there
    assert without_runs(other, "-" * 5_000, 196) == "-" * 5_000


def test_a_text_is_tokenized_from_a_few_of_its_characters(
    tokenizers_by_kind, monkeypatch
):
    tokenizer = tokenizers_by_kind["wordpiece"]
    seen = []

    def watched(backend, texts):
        seen.extend(map(len, texts))
        return token_ids(backend, texts)

    monkeypatch.setattr(tokens, "token_ids", watched)
    (got,), has_more = first_tokens(
        TextTokenizer.of(tokenizer), ["диван угловой " * 100_000], 196
    )
    assert (len(got), has_more[0]) == (196, True)
    assert sum(seen) <= 196 * tokens.CHARACTERS_PER_TOKEN


def test_shortened_tokens_says_whether_they_are_all(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["wordpiece"]
    ids, is_whole = shortened_tokens(tokenizer.backend_tokenizer, "диван\u200b " * 5, 196)
    assert (ids, is_whole) == (ids_of(tokenizer, "диван " * 5), True)
    ids, is_whole = shortened_tokens(
        tokenizer.backend_tokenizer, "диван\u200b " * 10_000, 196
    )
    assert ids[:196] == ids_of(tokenizer, "диван " * 10_000)[:196]
    assert not is_whole

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rubert_ood.classifier import windows
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.tokenizer import TextTokenizer, load_tokenizer
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.classifier.windows import COLUMNS, Windows, cut, is_blank, pool
from rubert_ood.settings import TextSettings
from tests.small_model import padded_classifier


@pytest.fixture(scope="module")
def classifier(small_checkpoint) -> Classifier:
    return Classifier.load(small_checkpoint)


@pytest.fixture(scope="module")
def texts(ad_texts) -> list[str]:
    """Short and long, with none and one in the middle: 0 to about 1,500 tokens."""
    long = [
        " ".join(ad_texts[n : n + size])
        for n, size in ((0, 2), (7, 5), (20, 12), (40, 30))
    ]
    return [*ad_texts[:20], "", long[0], "диван", *long[1:], *ad_texts[20:30]]


def _by_hand(
    tokenizer, text: str, max_length: int, stride: int, max_windows: int
) -> tuple[list[list[int]], int, bool]:
    """Cut the word pieces with a loop: the windows, the tokens that were read, and whether the end
    is missing."""
    pieces = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))
    cls_id, sep_id = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
    chunks, start = [], 0
    while True:
        chunks.append(pieces[start : start + max_length - 2])
        if start + max_length - 2 >= len(pieces) or len(chunks) == max_windows:
            break
        start += max_length - 2 - stride
    read = start + len(chunks[-1])
    return [[cls_id, *chunk, sep_id] for chunk in chunks], read + 2, read < len(pieces)


@given(st.integers(8, 200), st.integers(0, 100), st.integers(1, 10))
@settings(max_examples=25, deadline=None)
def test_windows_are_those_of_a_loop(
    small_checkpoint, texts, max_length, stride, max_windows
):
    tokenizer = AutoTokenizer.from_pretrained(small_checkpoint)
    stride = min(stride, max_length // 2)
    read = cut(
        load_tokenizer(small_checkpoint),
        texts,
        TextSettings(
            max_length=max_length, mode="window", stride=stride, max_windows=max_windows
        ),
    )
    expected = [
        _by_hand(tokenizer, text, max_length, stride, max_windows) for text in texts
    ]
    assert read.ids.to_pylist() == [ids for chunks, _, _ in expected for ids in chunks]
    assert read.num_windows_N.tolist() == [len(chunks) for chunks, _, _ in expected]
    assert read.num_tokens_N.tolist() == [num_read for _, num_read, _ in expected]
    assert read.is_cut_N.tolist() == [is_cut for _, _, is_cut in expected]


@pytest.mark.parametrize("max_length", [8, 64, 196])
def test_windows_in_mode_truncate_are_the_plain_tokenizer(
    small_checkpoint, texts, max_length
):
    tokenizer = AutoTokenizer.from_pretrained(small_checkpoint)
    plain = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    settings = TextSettings(max_length=max_length)
    read = cut(load_tokenizer(small_checkpoint), texts, settings)
    assert read.ids.to_pylist() == plain
    assert set(read.num_windows_N) == {1}
    assert read.num_tokens_N.tolist() == [len(ids) for ids in plain]
    lengths = [len(tokenizer.tokenize(text)) + 2 for text in texts]
    assert read.is_cut_N.tolist() == [length > max_length for length in lengths]


@pytest.mark.parametrize(("mode", "max_windows"), [("truncate", 1), ("window", 3)])
def test_windows_of_every_tokenizer_are_the_overflow_of_the_plain_call(
    tokenizers_by_kind, texts, mode, max_windows
):
    """Also after a call that leaves truncation and padding switched on in the tokenizer that it is
    made of."""
    settings = TextSettings(max_length=48, mode=mode, stride=10, max_windows=max_windows)
    for tokenizer in tokenizers_by_kind.values():
        plain = tokenizer(
            texts,
            truncation=True,
            max_length=48,
            stride=10 if mode == "window" else 0,
            return_overflowing_tokens=True,
            padding="max_length",
        )
        read = cut(TextTokenizer.of(tokenizer), texts, settings)
        owners = plain["overflow_to_sample_mapping"]
        expected = []
        for text in range(len(texts)):
            windows_of_text = [n for n, owner in enumerate(owners) if owner == text]
            assert read.is_cut_N[text] == (len(windows_of_text) > max_windows)
            for number in windows_of_text[:max_windows]:
                mask = plain["attention_mask"][number]
                expected.append(plain["input_ids"][number][: sum(mask)])
        assert read.ids.to_pylist() == expected


INVISIBLE = [
    "\u200b",
    "\ufeff",
    "\0",
    "\x07",
    "\xad",
    "\ufffd",
    "\u2060\u200d",
    "\u202e",
    "\u0301",
    " ",
]


@pytest.mark.parametrize("mode", ["truncate", "window"])
def test_windows_of_a_text_without_a_visible_character_are_blank(
    tokenizers_by_kind, mode
):
    for tokenizer in tokenizers_by_kind.values():
        assert _blank(tokenizer, [*INVISIBLE, "".join(INVISIBLE) * 300], mode) == [
            True
        ] * (len(INVISIBLE) + 1)


def test_windows_of_unknown_and_special_tokens_are_blank_and_one_known_sign_is_enough(
    tokenizers_by_kind,
):
    tokenizer = tokenizers_by_kind["wordpiece"]
    assert tokenizer.tokenize("ѣѣ 😀") == ["[UNK]", "[UNK]"]
    blank = ["ѣѣ 😀", "ж" * 101, "[SEP]", "ѣ " * 1000, "\u200b😀", ""]
    assert _blank(tokenizer, blank, "truncate") == [True] * len(blank)
    assert _blank(tokenizer, blank, "window") == [True] * len(blank)
    full = ["диван", "ѣ диван", "\u200bдиван\ufffd", ".", "[SEP] а"]
    assert _blank(tokenizer, full, "truncate") == [False] * len(full)


def test_windows_do_not_count_what_lies_behind_the_last(tokenizers_by_kind):
    texts = ["ѣ " * 100 + "диван"]
    tokenizer = tokenizers_by_kind["wordpiece"]
    assert _blank(tokenizer, texts, "truncate") == [True]
    assert _blank(tokenizer, texts, "window") == [False]


def _blank(tokenizer, texts: list[str], mode: str) -> list[bool]:
    ours = TextTokenizer.of(tokenizer)
    read = cut(ours, texts, TextSettings(max_length=48, mode=mode, stride=10))
    return is_blank(ours, texts, read).tolist()


def test_windows_select_takes_whole_texts(classifier, texts):
    read = cut(
        classifier.tokenizer,
        texts,
        TextSettings(max_length=64, mode="window", stride=5),
    )
    rows_N = np.arange(len(texts)) % 3 == 0
    part = read.select(rows_N)
    alone = cut(
        classifier.tokenizer,
        texts[::3],
        TextSettings(max_length=64, mode="window", stride=5),
    )
    assert part.ids.to_pylist() == alone.ids.to_pylist()
    np.testing.assert_array_equal(part.num_windows_N, alone.num_windows_N)
    assert len(read.select(np.zeros(len(texts), bool)).num_tokens_N) == 0


@pytest.mark.parametrize("packs", [True, False])
def test_windows_run_gives_the_weighted_mean_of_each_window_alone(
    small_checkpoint, texts, packs
):
    load = Classifier.load if packs else padded_classifier
    classifier = load(small_checkpoint)
    settings = TextSettings(max_length=64, mode="window", stride=12, max_windows=5)
    read = cut(classifier.tokenizer, texts, settings)
    outputs = windows.run(classifier, read, token_budget=500)
    logits_NC, cls_NH = outputs.logits_NC, outputs.cls_NH
    network = AutoModelForSequenceClassification.from_pretrained(small_checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(small_checkpoint)
    num_long = 0
    for row, text in enumerate(texts):
        chunks, _, _ = _by_hand(tokenizer, text, 64, 12, 5)
        total, logits, cls = 0, 0.0, 0.0
        for ids in chunks:
            with torch.no_grad():
                output = network(input_ids=torch.tensor([ids]), output_hidden_states=True)
            total += len(ids)
            logits += len(ids) * output.logits[0].double().numpy()
            cls += len(ids) * output.hidden_states[-1][0, 0].double().numpy()
        np.testing.assert_allclose(logits_NC[row], logits / total, atol=1e-5)
        np.testing.assert_allclose(cls_NH[row], cls / total, atol=1e-5)
        num_long += len(chunks) > 1
    assert 4 <= num_long < len(texts)
    assert logits_NC.dtype == cls_NH.dtype == np.float32


def test_windows_run_of_short_ads_gives_the_same_bits_as_without(
    classifier, small_checkpoint, ad_texts
):
    tokenizer = AutoTokenizer.from_pretrained(small_checkpoint)
    short = [text for text in ad_texts if len(tokenizer.tokenize(text)) <= 194]
    assert len(short) > 400
    read = cut(classifier.tokenizer, short, TextSettings(max_length=196, mode="window"))
    assert set(read.num_windows_N) == {1}
    plain = classifier.run(tokenize(classifier.tokenizer, short, 196), token_budget=1000)
    ours = windows.run(classifier, read, token_budget=1000)
    np.testing.assert_array_equal(ours.logits_NC, plain.logits)
    np.testing.assert_array_equal(ours.cls_NH, plain.cls)
    np.testing.assert_array_equal(ours.tokens_NH, plain.tokens)


@pytest.mark.parametrize("mode", ["truncate", "window"])
def test_windows_run_adds_the_words_of_a_text_once_whatever_its_windows(
    classifier, texts, stack, mode
):
    settings = TextSettings(max_length=64, mode=mode, stride=12)
    plain = cut(classifier.tokenizer, texts, settings)
    mixed = cut(classifier.tokenizer, texts, settings, stack)
    outputs = windows.run(classifier, plain, token_budget=500)
    logits_NC, cls_NH = outputs.logits_NC, outputs.cls_NH
    outputs = windows.run(classifier, mixed, token_budget=500)
    got_NC, got_NH = outputs.logits_NC, outputs.cls_NH
    np.testing.assert_array_equal(got_NC, logits_NC + stack.logits(texts))
    np.testing.assert_array_equal(got_NH, cls_NH)
    there = Windows.of(pa.table(mixed.columns()))
    np.testing.assert_array_equal(there.word_logits_NC, stack.logits(texts))
    chosen_N = np.arange(len(texts)) % 3 == 1
    some_NC = mixed.select(chosen_N).word_logits_NC
    np.testing.assert_array_equal(some_NC, stack.logits(texts)[chosen_N])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(0, 2**32 - 1))
def test_windows_pooling_is_a_weighted_mean_and_leaves_single_ones_alone(
    num_chunks, seed
):
    rng = np.random.default_rng(seed)
    lengths = [rng.integers(1, 60, size=count) for count in num_chunks]
    ids = pa.array(
        [[1] * length for text in lengths for length in text], pa.list_(pa.int32())
    )
    outputs_WX = rng.normal(size=(sum(num_chunks), 7)).astype(np.float32) * 100
    before = outputs_WX.copy()
    rows = np.array(num_chunks, np.int32)
    pooled_NX = pool(
        outputs_WX, Windows(ids, rows, np.zeros_like(rows), np.zeros(len(rows), bool))
    )
    assert pooled_NX.dtype == np.float32
    start = 0
    for row, text in enumerate(lengths):
        of_text = before[start : start + len(text)].astype(np.float64)
        mean = (
            sum(length * output for length, output in zip(text, of_text, strict=True))
            / text.sum()
        )
        np.testing.assert_allclose(pooled_NX[row], mean, rtol=1e-6, atol=1e-6)
        if len(text) == 1:
            np.testing.assert_array_equal(pooled_NX[row], before[start])
        start += len(text)


def test_the_network_reads_each_token_once_and_each_overlap_twice(
    small_checkpoint, texts
):
    classifier = Classifier.load(small_checkpoint)
    seen: list[int] = []
    classifier.network.bert.encoder.layer[0].intermediate.register_forward_hook(
        lambda _, inputs, __: seen.append(len(inputs[0]))
    )
    settings = TextSettings(max_length=64, mode="window", stride=12, max_windows=100)
    read = cut(classifier.tokenizer, texts, settings)
    windows.run(classifier, read, token_budget=500)
    tokenizer = AutoTokenizer.from_pretrained(small_checkpoint)
    lengths = [len(tokenizer.tokenize(text)) for text in texts]
    assert max(lengths) > 1000
    num_windows = [
        max(1, -(-(length - 12) // 50)) for length in lengths
    ]  # 62 tokens, each 50 further on
    expected = sum(
        length + 2 * count + 12 * (count - 1)
        for length, count in zip(lengths, num_windows, strict=True)
    )
    assert sum(seen) == expected


def test_windows_survive_a_table(classifier, texts):
    read = cut(
        classifier.tokenizer,
        texts,
        TextSettings(max_length=64, mode="window", stride=5),
    )
    table = pa.table(read.columns())
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == COLUMNS
    back = Windows.of(table)
    assert back.ids.equals(read.ids)
    for name in ("num_windows_N", "num_tokens_N", "is_cut_N"):
        np.testing.assert_array_equal(getattr(back, name), getattr(read, name))


@pytest.mark.parametrize("mode", ["truncate", "window"])
def test_windows_of_no_texts_are_none(classifier, mode):
    read = cut(
        classifier.tokenizer, [], TextSettings(max_length=64, mode=mode, stride=10)
    )
    assert Windows.of(pa.table(read.columns())).ids.equals(read.ids)
    outputs = windows.run(classifier, read, token_budget=100)
    logits_NC, cls_NH = outputs.logits_NC, outputs.cls_NH
    assert (logits_NC.shape, cls_NH.shape) == ((0, 5), (0, 32))

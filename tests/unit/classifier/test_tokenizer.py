"""Ours does what the tokenizer of transformers does that it was made of, or read instead of."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rubert_ood.classifier import checkpoint
from rubert_ood.classifier.tokenizer import (
    SPECIAL_IDS,
    SpecialIds,
    TextTokenizer,
    largest_id,
    load_tokenizer,
    read_backend,
    save_tokenizer,
)
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.errors import BundleError

KINDS = [
    "wordpiece",
    "wordpiece without accents",
    "bytes",
    "unigram",
    "unigram over spaces",
]
BERT_IDS = SpecialIds(cls=2, pad=0, unknown=1, special=[0, 1, 2, 3, 4])
characters = st.characters(exclude_categories=["Cs"])
pieces = st.sampled_from(
    ["диван", " ", "[MASK]", "<mask>", "##", "ё", "\u0301", "\u200b"]
)
texts = st.lists(st.one_of(pieces, characters), max_size=30).map("".join)


@pytest.fixture
def folder(small_checkpoint, tmp_path) -> Path:
    """A tokenizer as a bundle has it."""
    AutoTokenizer.from_pretrained(small_checkpoint).save_pretrained(tmp_path)
    (tmp_path / SPECIAL_IDS).write_text(BERT_IDS.model_dump_json())
    return tmp_path


@pytest.fixture(scope="module")
def ours_by_kind(tokenizers_by_kind) -> dict[str, TextTokenizer]:
    return {kind: TextTokenizer.of(made) for kind, made in tokenizers_by_kind.items()}


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(texts, min_size=1, max_size=5))
def test_text_tokenizer_gives_the_ids_of_the_one_it_is_made_of(
    tokenizers_by_kind, ours_by_kind, kind, texts
):
    ids = tokenize(ours_by_kind[kind], texts, 10_000).to_pylist()
    plain = tokenizers_by_kind[kind]
    assert ids == [plain(text)["input_ids"] for text in texts]


def test_text_tokenizer_neither_cuts_nor_fills_up_whatever_the_other_one_is_told(
    tokenizers_by_kind, ad_texts
):
    plain = tokenizers_by_kind["wordpiece"]
    alone = [plain(text)["input_ids"] for text in ad_texts[:20]]
    plain(ad_texts[:20], truncation=True, max_length=9, padding="max_length")
    ours = TextTokenizer.of(plain)
    assert tokenize(ours, ad_texts[:20], 10_000).to_pylist() == alone
    plain(ad_texts[:20], truncation=True, max_length=9, padding="max_length")
    assert tokenize(ours, ad_texts[:20], 10_000).to_pylist() == alone
    assert plain.backend_tokenizer.truncation["max_length"] == 9  # it keeps its own


def test_special_ids_and_names_of_every_kind_are_those_of_transformers(
    tokenizers_by_kind, ours_by_kind
):
    for kind, plain in tokenizers_by_kind.items():
        ours, numbers = ours_by_kind[kind], list(range(len(plain)))
        assert largest_id(ours.backend) == numbers[-1]
        assert (ours.ids.cls, ours.ids.pad) == (plain.cls_token_id, plain.pad_token_id)
        assert ours.ids.unknown == plain.unk_token_id
        names = plain.convert_ids_to_tokens(numbers)
        assert [ours.token(number) for number in numbers] == names
        is_special = [number in plain.all_special_ids for number in numbers]
        assert ours.is_special(np.array(numbers)).tolist() == is_special


def test_tokenizer_of_a_folder_with_special_ids_is_read_without_its_config(
    folder, ad_texts
):
    expected = AutoTokenizer.from_pretrained(folder)(ad_texts)["input_ids"]
    (folder / "tokenizer_config.json").write_text("damaged")
    ours = load_tokenizer(str(folder))
    assert tokenize(ours, ad_texts, 10_000).to_pylist() == expected
    assert ours.ids == BERT_IDS


def test_special_token_in_a_text_is_split_where_the_special_ids_say_so(folder):
    text = "[MASK] диван"
    mask_id = 4
    assert mask_id in tokenize(load_tokenizer(str(folder)), [text], 99)[0].as_py()
    splitting = BERT_IDS.model_copy(update={"splits_special": True})
    (folder / SPECIAL_IDS).write_text(splitting.model_dump_json())
    ids = tokenize(load_tokenizer(str(folder)), [text], 99)[0].as_py()
    assert mask_id not in ids
    plain = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    assert ids == plain(text)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_of_a_training_checkpoint_is_read_without_transformers(
    tokenizers_by_kind, kind, ad_texts, tmp_path, monkeypatch
):
    plain = tokenizers_by_kind[kind]
    plain(ad_texts[:20], truncation=True, max_length=9, padding="max_length")
    save_tokenizer(plain, str(tmp_path))
    expected = AutoTokenizer.from_pretrained(tmp_path)
    monkeypatch.delattr(checkpoint, "load_pretrained_tokenizer")
    ids = tokenize(load_tokenizer(str(tmp_path)), ad_texts[:200], 10_000).to_pylist()
    for got, text in zip(ids, ad_texts, strict=False):
        assert got == expected(text, truncation=False, padding=False)["input_ids"]


def test_tokenizer_that_splits_special_tokens_is_saved_so(folder, tmp_path):
    plain = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    save_tokenizer(plain, str(tmp_path / "saved"))
    ids = tokenize(load_tokenizer(str(tmp_path / "saved")), ["[MASK] диван"], 99)
    assert ids.to_pylist() == [plain("[MASK] диван")["input_ids"]]


FAULTS = {
    "damaged": ("{", "Invalid JSON"),
    "no_pad": ('{"cls": 2, "special": [2]}', "pad Field required"),
    "other_cls": (
        '{"cls": 3, "pad": 0, "special": [0, 3]}',
        "the tokenizer does not put the id 3 first, as CLS",
    ),
    "pad_is_a_word": (
        '{"cls": 2, "pad": 9, "special": [2]}',
        "the ids of CLS, pad and what is unknown are not among the special ones",
    ),
    "unknown_id": (
        '{"cls": 2, "pad": 0, "special": [0, 2, 99999]}',
        "the tokenizer has no token with the id 99999",
    ),
    "negative_id": (
        '{"cls": 2, "pad": 0, "special": [-1, 0, 2]}',
        "the tokenizer has no token with the id -1",
    ),
    "id_without_end": (
        '{"cls": 2, "pad": 0, "special": [0, 2, 1000000000000]}',
        "the tokenizer has no token with the id 1000000000000",
    ),
    "unknown_is_a_word": (
        '{"cls": 2, "pad": 0, "unknown": 9, "special": [0, 2]}',
        "the ids of CLS, pad and what is unknown are not among the special ones",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_special_ids_that_do_not_fit_the_tokenizer_are_one_line(folder, name):
    content, message = FAULTS[name]
    (folder / SPECIAL_IDS).write_text(content)
    with pytest.raises(BundleError) as caught:
        load_tokenizer(str(folder))
    line = str(caught.value)
    assert line.startswith(f"{folder}: the tokenizer does not load: ")
    assert message in line
    assert line.endswith(". Use another checkpoint")
    assert "\n" not in line


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000])
def test_tokenizer_json_that_is_none_is_one_line(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(BundleError, match="it does not hold a tokenizer") as caught:
        load_tokenizer(str(folder))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="it does not hold a tokenizer"):
        read_backend(str(folder))


def test_base_model_whose_tokenizer_drops_letters_is_one_line(folder):
    """A normalizer that removes all but a letter of another alphabet."""
    (folder / SPECIAL_IDS).unlink()
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text("utf-8"))
    state["normalizer"] = {"type": "Replace", "pattern": {"Regex": "a"}, "content": ""}
    path.write_text(json.dumps(state), "utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]"}
    config |= {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BundleError, match="it makes no token of a letter") as caught:
        load_tokenizer(str(folder))
    assert "\n" not in str(caught.value)

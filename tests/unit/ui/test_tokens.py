"""The tokens that are shown are those that plain transformers cuts."""

import pytest
from transformers import AutoTokenizer

from rubert_ood.ui import tokens
from rubert_ood.ui.tokens import Token, num_characters_read, tokens_of


@pytest.fixture(scope="module")
def plain(model):
    return AutoTokenizer.from_pretrained(model.bundle.folder)


@pytest.fixture(scope="module")
def tokenizer(model):
    return model.tokenizer


def test_tokens_of_a_window_are_its_pieces(tokenizer, plain):
    text = "диван раскладывается"
    ids = plain(text)["input_ids"]
    found = tokens_of(tokenizer, [ids])[0]
    assert found[0] == Token("[CLS]", "special")
    assert found[-1] == Token("[SEP]", "special")
    words = ""
    for token in found[1:-1]:
        words += token.text if token.kind == "piece" else f" {token.text}"
    assert words.strip() == text


def test_tokens_of_an_unknown_sign_say_so(tokenizer, plain):
    ids = plain("диван \u4e2d")["input_ids"]
    assert Token("[UNK]", "unknown") in tokens_of(tokenizer, [ids])[0]


def test_tokens_of_many_windows_are_bounded(tokenizer, plain, monkeypatch):
    monkeypatch.setattr(tokens, "MAX_SHOWN", 10)
    ids = plain("диван")["input_ids"]
    found = tokens_of(tokenizer, [ids] * 20)
    assert sum(map(len, found)) == 10


def test_num_characters_read_ends_behind_the_last_token(tokenizer, plain):
    text = "диван угловой раскладывается новый"
    size = len(plain(text, add_special_tokens=False)["input_ids"])
    assert num_characters_read(tokenizer, text, size) == len(text)
    assert num_characters_read(tokenizer, text, 0) == 0
    first = len(plain("диван", add_special_tokens=False)["input_ids"])
    assert num_characters_read(tokenizer, text, first) == len("диван")

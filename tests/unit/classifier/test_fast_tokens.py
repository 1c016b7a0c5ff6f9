import sys
from types import SimpleNamespace

import pytest

from rubert_ood.classifier import fast_tokens
from rubert_ood.classifier.fast_tokens import _fast_tokenizer, sample_texts, token_ids
from rubert_ood.classifier.tokenizer import load_tokenizer


@pytest.fixture
def backend(small_checkpoint):
    """A backend of its own, so that nothing is remembered of it."""
    return load_tokenizer(small_checkpoint).backend


def one_by_one(backend, texts):
    return [backend.encode(text, add_special_tokens=False).ids for text in texts]


def test_token_ids_with_nanotoken_are_those_of_the_tokenizer(backend, ad_texts):
    pytest.importorskip("nanotoken")
    assert _fast_tokenizer(backend) is not None
    texts = [*ad_texts, *fast_tokens.HARD_TEXTS, *(text.upper() for text in ad_texts)]
    assert token_ids(backend, texts) == one_by_one(backend, texts)


def test_token_ids_without_nanotoken_are_those_of_the_tokenizer(
    backend, ad_texts, monkeypatch
):
    monkeypatch.setattr(fast_tokens, "find_spec", lambda name: None)
    assert _fast_tokenizer(backend) is None
    assert token_ids(backend, ad_texts) == one_by_one(backend, ad_texts)


@pytest.mark.parametrize("wrong", [[7], None])
def test_a_faster_tokenizer_that_differs_or_fails_is_not_used_and_a_line_says_so(
    backend, ad_texts, monkeypatch, caplog, wrong
):
    def encode_batch_list(texts, **_):
        if wrong is None:
            raise RuntimeError("no such\nmodel")
        return [wrong for _ in texts]

    class Tokenizer:
        @staticmethod
        def from_json(_):
            return SimpleNamespace(encode_batch_list=encode_batch_list)

    module = SimpleNamespace(Tokenizer=Tokenizer, set_cache_entries=lambda _: None)
    monkeypatch.setitem(sys.modules, "nanotoken", module)
    monkeypatch.setattr(fast_tokens, "find_spec", lambda name: name)
    assert token_ids(backend, ad_texts) == one_by_one(backend, ad_texts)
    reason = "no such model" if wrong is None else "its token ids differ"
    assert f"does not use nanotoken, tokenizing will be slower: {reason}" in caplog.text


def test_a_text_that_is_not_unicode_fails_as_with_the_tokenizer(backend):
    with pytest.raises(TypeError):
        token_ids(backend, ["а\ud800б"])


def test_sample_texts_are_bounded_and_hold_pieces_from_all_over_the_vocabulary(backend):
    texts = sample_texts(backend)
    assert sum(map(len, texts)) < 500_000
    words = {word for text in texts for word in text.split(" ")}
    vocabulary = backend.get_vocab()
    assert len(vocabulary) <= fast_tokens.SAMPLE_PIECES
    assert set(vocabulary) <= words

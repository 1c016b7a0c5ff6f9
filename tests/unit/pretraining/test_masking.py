"""Whole words are hidden, by the rule of BERT, the same for the same seed."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rubert_ood.pretraining.masking import Masker

TEXTS = ["продается угловой диван", "сдается квартира с балконом, недорого"]


@pytest.fixture(scope="module")
def tokenizer(small_checkpoint):
    return AutoTokenizer.from_pretrained(small_checkpoint)


def _ids(tokenizer, texts=TEXTS) -> np.ndarray:
    return np.concatenate([tokenizer(text)["input_ids"] for text in texts])


def _words(tokenizer, texts=TEXTS) -> list[int]:
    """Number the words of the texts, as the tokenizer itself does; -1 is no word."""
    words, first = [], 0
    for text in texts:
        found = tokenizer(text).word_ids()
        words += [-1 if word is None else word + first for word in found]
        first = max(words) + 1
    return words


def test_masker_hides_whole_words_and_no_special_token(tokenizer):
    ids_T, words_T = _ids(tokenizer), np.array(_words(tokenizer))
    assert len(ids_T) > len(set(words_T)) + 5  # words of several pieces
    masker, rng = Masker.of(tokenizer, 0.3), np.random.default_rng(0)
    for _ in range(200):
        masked = masker.hide(ids_T, rng)
        chosen = set(words_T[masked.places_M])
        assert -1 not in chosen
        assert np.isin(words_T, list(chosen)).nonzero()[0].tolist() == list(
            masked.places_M
        )
        np.testing.assert_array_equal(masked.hidden_M, ids_T[masked.places_M])
        others = np.delete(np.arange(len(ids_T)), masked.places_M)
        np.testing.assert_array_equal(masked.ids_T[others], ids_T[others])


def test_masker_hides_the_share_of_words_and_replaces_as_bert_does(tokenizer):
    ids_T = np.tile(_ids(tokenizer), 400)
    words_T = np.array(_words(tokenizer, TEXTS * 400))
    masked = Masker.of(tokenizer, 0.15).hide(ids_T, np.random.default_rng(1))
    num_chosen = len(set(words_T[masked.places_M]))
    assert num_chosen / words_T.max() == pytest.approx(0.15, abs=0.02)
    shown_M = masked.ids_T[masked.places_M]
    is_mask_M = shown_M == tokenizer.mask_token_id
    is_same_M = shown_M == masked.hidden_M
    assert is_mask_M.mean() == pytest.approx(0.8, abs=0.03)
    assert is_same_M.mean() == pytest.approx(0.1, abs=0.02)
    others = set(shown_M[~is_mask_M & ~is_same_M].tolist())
    assert len(others) > 50
    assert not others & set(tokenizer.all_special_ids)


def test_masker_hides_the_same_for_the_same_seed_and_other_words_for_another(tokenizer):
    masker, ids_T = Masker.of(tokenizer, 0.15), np.tile(_ids(tokenizer), 20)
    first, second, other = (
        masker.hide(ids_T, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first.ids_T, second.ids_T)
    np.testing.assert_array_equal(first.places_M, second.places_M)
    assert not np.array_equal(first.places_M, other.places_M)


def test_masker_hides_a_word_where_chance_chose_none(tokenizer):
    masker, ids_T = Masker.of(tokenizer, 1e-9), _ids(tokenizer)
    words_T = np.array(_words(tokenizer))
    masked = masker.hide(ids_T, np.random.default_rng(0))
    (word,) = set(words_T[masked.places_M])
    assert len(masked.places_M) == (words_T == word).sum()


def test_masker_knows_the_words_of_a_sentencepiece_tokenizer():
    pieces = ["<s>", "</s>", "<unk>", "<pad>", "<mask>", "▁ди", "ван", "▁стол", "▁"]
    backend = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], 2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
    )
    starts_V = Masker.of(tokenizer, 0.1).starts_word_V
    starting = [piece for piece, starts in zip(pieces, starts_V, strict=True) if starts]
    assert starting == [piece for piece in pieces if piece != "ван"]

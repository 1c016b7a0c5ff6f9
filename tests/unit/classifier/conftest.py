"""Tokenizers of several kinds, trained on a few ads: what holds for texts must hold for checkpoints
of all kinds."""

import pytest
from tokenizers import (
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<mask>"]


def _wrapped(tokenizer: Tokenizer, names: list[str]) -> PreTrainedTokenizerFast:
    roles = ("cls_token", "sep_token", "unk_token", "pad_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **dict(zip(roles, names, strict=True))
    )


def _trained(
    tokenizer: Tokenizer, trainer: trainers.Trainer, texts: list[str]
) -> PreTrainedTokenizerFast:
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return _wrapped(tokenizer, SPECIAL)


def _byte_level(texts: list[str], *, add_prefix_space: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    letters = pre_tokenizers.ByteLevel.alphabet()
    options = {"vocab_size": 1000, "special_tokens": SPECIAL, "show_progress": False}
    return _trained(
        tokenizer, trainers.BpeTrainer(initial_alphabet=letters, **options), texts
    )


def _unigram(
    texts: list[str], *, split: bool, normalizer: normalizers.Normalizer
) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    options = {"vocab_size": 600, "special_tokens": SPECIAL, "show_progress": False}
    return _trained(
        tokenizer, trainers.UnigramTrainer(unk_token="<unk>", **options), texts
    )


@pytest.fixture(scope="session")
def tokenizers_by_kind(small_checkpoint, ad_texts) -> dict[str, PreTrainedTokenizerFast]:
    """WordPiece with and without accents, byte-level BPE as in RoBERTa, Unigram as in XLM-R, and
    one without words."""
    wordpiece = AutoTokenizer.from_pretrained(small_checkpoint)
    without_accents = Tokenizer.from_str(wordpiece.backend_tokenizer.to_str())
    without_accents.normalizer = normalizers.BertNormalizer(strip_accents=True)
    texts = ad_texts[:150]
    joined = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    return {
        "wordpiece": wordpiece,
        "wordpiece without accents": _wrapped(
            without_accents, ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"]
        ),
        "bytes": _byte_level(texts, add_prefix_space=False),
        "bytes with a space first": _byte_level(texts, add_prefix_space=True),
        "unigram": _unigram(texts, split=True, normalizer=joined),
        "unigram that drops characters": _unigram(
            texts, split=True, normalizer=normalizers.BertNormalizer()
        ),
        "unigram over spaces": _unigram(texts, split=False, normalizer=normalizers.NFC()),
    }

"""Tokenizers of the classes of transformers, trained on a few ads."""

import json

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BertTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaTokenizerFast,
    XLMRobertaTokenizer,
)

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def learned(
    tokenizer: Tokenizer, trainer: trainers.Trainer, texts: list[str]
) -> Tokenizer:
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def bert_tokenizer(texts: list[str], **options: bool) -> PreTrainedTokenizerFast:
    learning = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learning.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    learning.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=800, special_tokens=BERT_SPECIAL, show_progress=False
    )
    vocabulary = learned(learning, trainer, texts).get_vocab()
    return BertTokenizerFast(vocab=vocabulary, **options)


def roberta_tokenizer(texts: list[str], **options: bool) -> PreTrainedTokenizerFast:
    learning = Tokenizer(models.BPE())
    learning.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model = json.loads(learned(learning, trainer, texts).to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    return RobertaTokenizerFast(vocab=model["vocab"], merges=merges, **options)


def xlm_roberta_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    learning = Tokenizer(models.Unigram())
    learning.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    model = json.loads(learned(learning, trainer, texts).to_str())["model"]
    return XLMRobertaTokenizer(vocab=[tuple(pair) for pair in model["vocab"]])

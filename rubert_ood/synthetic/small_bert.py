"""Build a small BERT from nothing but texts: its own WordPiece vocabulary, random weights.

It stands in for a pretrained RuBERT where none can be had: the demo, the tests, a machine without
network.
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from rubert_ood.classifier.checkpoint import quiet_transformers


@dataclass(frozen=True)
class BertShape:
    """Size of a network that trains on a laptop in minutes."""

    vocab_size: int = 8_000
    """At most: so many word pieces are learned from the texts."""
    hidden_size: int = 128
    num_layers: int = 2
    num_heads: int = 2
    intermediate_size: int | None = None
    """Width of the feed-forward layers; None: four times hidden_size."""
    dropout: float = 0.1
    spread: float = 0.02
    """Standard deviation of the random weights: that of BERT, which suits a width of 768."""


SMALL = BertShape(spread=0.08)
"""At width 128 a spread near 1 / sqrt(width) lets attention and feed-forward take part from the
first step."""
OPTIONS = {"lowercase": True, "strip_accents": False}
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_LETTERS = 1_000
TEXTS_AT_ONCE = 500


def build_small_bert(
    texts: Iterable[str], folder: str, shape: BertShape = SMALL, *, seed: int = 42
) -> str:
    """Write a checkpoint that `AutoModel.from_pretrained(folder)` loads. Returns the folder.

    The same texts in the same order, and the same seed, give the same bytes.
    """
    quiet_transformers()
    wordpiece = _trained_wordpiece(list(texts), shape.vocab_size)
    os.makedirs(folder, exist_ok=True)
    tokenizer = BertTokenizerFast(
        tokenizer_object=wordpiece._tokenizer,
        do_lower_case=True,
        strip_accents=False,
        model_max_length=512,
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=wordpiece.get_vocab_size(),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size or 4 * shape.hidden_size,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        initializer_range=shape.spread,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def _trained_wordpiece(texts: list[str], vocab_size: int) -> BertWordPieceTokenizer:
    """Learn word pieces, in the same way in every process.

    `tokenizers` numbers the letters inside words as it meets them in a table of words, whose order
    is random, and breaks ties between pieces by these numbers. Named as special tokens they are
    numbered first; a fresh tokenizer takes the vocabulary, in which they are pieces as any other.
    """
    learning = BertWordPieceTokenizer(**OPTIONS)
    alphabet, inside = _letters(learning, texts)
    learning.train_from_iterator(
        texts,
        vocab_size=vocab_size,
        min_frequency=2,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        special_tokens=[*SPECIAL_TOKENS, *(f"##{letter}" for letter in inside)],
        show_progress=False,
    )
    return BertWordPieceTokenizer(learning.get_vocab(), **OPTIONS)


def _letters(
    tokenizer: BertWordPieceTokenizer, texts: list[str]
) -> tuple[list[str], list[str]]:
    """Return the most frequent letters of the texts, and those of them inside words; sorted."""
    counts: Counter[str] = Counter()
    words: set[str] = set()
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        joined = " ".join(texts[start : start + TEXTS_AT_ONCE])
        shown = tokenizer.normalizer.normalize_str(joined)
        counts.update(shown)
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(shown):
            words.add(word)
    counts.pop(" ", None)
    frequent = sorted(counts, key=lambda letter: (-counts[letter], letter))
    alphabet = set(frequent[:MAX_LETTERS])
    inside = set().union(*(word[1:] for word in words))
    return sorted(alphabet), sorted(alphabet & inside)

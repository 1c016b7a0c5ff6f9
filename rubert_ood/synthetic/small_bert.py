"""Build a small BERT from nothing but texts: its own WordPiece vocabulary, random weights.

It stands in for a pretrained RuBERT where none can be had: the demo, the tests, a machine without
network.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast


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


SMALL = BertShape()


def build_small_bert(
    texts: Iterable[str], folder: str, shape: BertShape = SMALL, *, seed: int = 42
) -> str:
    """Write a checkpoint that `AutoModel.from_pretrained(folder)` loads. Returns the folder.

    The weights are seeded. The vocabulary is not wholly: `tokenizers` breaks ties between word
    pieces at random.
    """
    wordpiece = BertWordPieceTokenizer(lowercase=True, strip_accents=False)
    wordpiece.train_from_iterator(
        texts, vocab_size=shape.vocab_size, min_frequency=2, show_progress=False
    )
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
        pad_token_id=tokenizer.pad_token_id,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder

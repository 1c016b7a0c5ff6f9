"""Build a small BERT from nothing but texts: its own WordPiece vocabulary, random weights.

It stands in for a pretrained RuBERT where none can be had: the demo, the tests, a machine without
network.
"""

import logging
import os
from collections.abc import Iterable

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

log = logging.getLogger(__name__)


def build_small_bert(
    texts: Iterable[str],
    folder: str,
    *,
    vocab_size: int = 8_000,
    hidden_size: int = 128,
    num_layers: int = 2,
    num_heads: int = 2,
    intermediate_size: int | None = None,
    dropout: float = 0.1,
    seed: int = 42,
) -> str:
    """Write a checkpoint that `AutoModel.from_pretrained(folder)` loads. Returns the folder.

    intermediate_size: width of the feed-forward layers; four times hidden_size by default.

    The weights are seeded. The vocabulary is not wholly: `tokenizers` breaks ties between word
    pieces at random.
    """
    wordpiece = BertWordPieceTokenizer(lowercase=True, strip_accents=False)
    wordpiece.train_from_iterator(
        texts, vocab_size=vocab_size, min_frequency=2, show_progress=False
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
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=intermediate_size or 4 * hidden_size,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder

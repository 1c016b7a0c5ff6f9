"""Texts to token ids, on the cluster."""

import os
from functools import lru_cache, partial

import pyarrow as pa
import ray.data

from rubert_ood import storage
from rubert_ood.ads.dataset import Ads
from rubert_ood.classifier.tokenizer import TextTokenizer, load_tokenizer
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.ray_session import TASK_RETRIES
from rubert_ood.training.cluster_ads import blocks_of

BATCH_TEXTS = 4_096


def token_dataset(ads: Ads, base_model: str, max_length: int) -> ray.data.Dataset:
    """Tokenize the ads once; columns row, label and ids, list<int32>, in the object store.

    base_model is the name that `everywhere` gives. Raises BundleError when a node cannot read its
    tokenizer.
    """
    texts = ray.data.from_arrow_refs(blocks_of(ads))
    tokenised = texts.map_batches(
        partial(tokenise, base_model=base_model, max_length=max_length),
        batch_size=BATCH_TEXTS,
        batch_format="pyarrow",
        **TASK_RETRIES,
    )
    return tokenised.materialize()


def everywhere(base_model: str) -> str:
    """Return the name by which workers find a checkpoint, wherever they were started."""
    return storage.absolute(base_model) if os.path.isdir(base_model) else base_model


def tokenise(block: pa.Table, *, base_model: str, max_length: int) -> pa.Table:
    """Replace the column `text` of a block by `ids`."""
    ids = tokenize(_tokenizer(base_model), block["text"].to_pylist(), max_length)
    return block.select(["row", "label"]).append_column("ids", ids)


@lru_cache(maxsize=1)
def _tokenizer(base_model: str) -> TextTokenizer:
    """Load the tokenizer once in each process."""
    return load_tokenizer(base_model)

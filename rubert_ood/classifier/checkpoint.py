"""Load a checkpoint, or refuse it in one line: config, tokenizer and weights, never code.

transformers, whose import takes seconds, is imported by what needs it: a process that scores a BERT
of a bundle does not.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch

from rubert_ood.classifier import bert
from rubert_ood.classifier.local_checkpoint import ADAPTER, local_checkpoint
from rubert_ood.classifier.positions import max_positions_of
from rubert_ood.classifier.tokenizer import TextTokenizer, largest_id
from rubert_ood.errors import BundleError, RubertOodError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog

log = StepLog("train")

PLAIN_ATTENTION = (None, "eager", "sdpa")
"""Ways to compute attention that are part of torch; others may be fetched from a hub, and run."""
_LOADING = Lock()
"""transformers builds a network on the meta device, which another thread would share meanwhile."""


def quiet_transformers() -> None:
    """Keep transformers, which is imported for it, from printing, and the hub from a line for each
    try to reach it."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    hub.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_pretrained_tokenizer(uri: str) -> Any:
    """Load a tokenizer of transformers: it must put CLS first, pad, and be able to cut windows."""
    from transformers import AutoTokenizer

    tokenizer = _load(AutoTokenizer, uri)
    if not tokenizer.is_fast:
        raise BundleError(
            f"{uri}: the tokenizer is written in Python and cannot cut texts"
            " into windows. Use a checkpoint with tokenizer.json"
        )
    with _reading(uri):
        first = tokenizer("а")["input_ids"][:1]
    if tokenizer.cls_token_id is None or first != [tokenizer.cls_token_id]:
        raise BundleError(
            f"{uri}: the tokenizer does not put a CLS token first. Use a"
            " BERT-type checkpoint"
        )
    if tokenizer.pad_token_id is None:
        raise BundleError(
            f"{uri}: the tokenizer has no pad token. Set pad_token"
            " in tokenizer_config.json"
        )
    return tokenizer


def load_for_scoring(uri: str) -> Any:
    """Load a classifier as `load_network`; an ordinary BERT without transformers' networks."""
    network = bert.load(local_checkpoint(uri))
    return load_network(uri) if network is None else network


def load_network(uri: str, labels: list[str] | None = None) -> Any:
    """Load a classifier, every weight from the checkpoint; `labels`: a new head on its encoder.

    Raises BundleError when the checkpoint lacks a weight of the encoder, has one that the encoder
    does not know, or holds a number that is not finite: no layer is ever left at random.
    """
    from transformers import AutoModelForSequenceClassification

    config = load_config(uri)
    if labels is not None:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
    return _load_checked(
        AutoModelForSequenceClassification, uri, config, new_head=labels is not None
    )


def load_for_pretraining(uri: str) -> Any:
    """Load a BERT with its output over the vocabulary, which may be new, and its pooler.

    Raises BundleError as `load_network`, and when the checkpoint is not a BERT.
    """
    from transformers import BertForPreTraining

    config = load_config(uri)
    if config.model_type != "bert" or config.is_decoder:
        raise BundleError(
            f"{uri}: pretraining needs a BERT encoder, and this one is"
            f" {config.model_type!r:.40}. Use another checkpoint"
        )
    return _load_checked(BertForPreTraining, uri, config, new_head=True)


def _load_checked(loader: Any, uri: str, config: Any, *, new_head: bool) -> Any:
    """Load a network in fp32, and look at what transformers would let pass."""
    network, found = _load(
        loader,
        uri,
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # they are looked at below
        output_loading_info=True,
    )
    _check_weights(uri, network, found, new_head=new_head)
    return network


def _check_weights(
    uri: str, network: Any, found: dict[str, Any], *, new_head: bool
) -> None:
    """Refuse a checkpoint that did not fill the network, but for the head where it is new."""
    new = set(found["missing_keys"]) | {key for key, *_ in found["mismatched_keys"]}
    unknown = set(found["unexpected_keys"])
    if new_head:
        fresh = sorted(key for key in new if not _in_encoder(key, network))
        log.info(
            "starts these weights anew, which %s does not have: %s",
            uri,
            ", ".join(fresh) or "none",
        )
        new = {key for key in new if _in_encoder(key, network)}
        unknown = {key for key in unknown if _in_encoder(key, network)}
    for keys, what in (
        (new, "missing or of another shape"),
        (unknown, "that config.json does not describe"),
    ):
        if keys:
            raise BundleError(
                f"{uri}: the checkpoint has {count_of(len(keys), 'weight')} {what},"
                f" such as {min(keys)}. Use a complete checkpoint"
            )
    for key, weight in network.named_parameters():
        if not torch.isfinite(weight).all():
            raise BundleError(
                f"{uri}: the weight {key} holds NaN or infinite numbers. Use"
                " another checkpoint"
            )


def _in_encoder(key: str, network: Any) -> bool:
    """Say whether a weight is of the encoder proper, which nothing can stand for."""
    part = key.removeprefix(f"{network.base_model_prefix}.").partition(".")[0]
    return part != "pooler" and part in dict(network.base_model.named_children())


def load_config(uri: str) -> Any:
    """Load config.json; BundleError when it asks for code or for weights of another kind."""
    if os.path.exists(os.path.join(local_checkpoint(uri), ADAPTER)):
        raise BundleError(
            f"{uri}: the checkpoint holds an adapter, not a whole model."
            " Merge it into its base model first"
        )
    from transformers import AutoConfig

    config = _load(AutoConfig, uri)
    attention = getattr(config, "_attn_implementation", None)
    if attention not in PLAIN_ATTENTION:
        raise BundleError(
            f"{uri}: config.json asks for the attention {attention!r:.100},"
            " which is not supported. Remove attn_implementation"
        )
    if getattr(config, "quantization_config", None):
        raise BundleError(
            f"{uri}: the weights are quantised already. Use the plain"
            " checkpoint, and set compute.precision to int8"
        )
    return config


def max_positions(uri: str) -> int:
    """Return the longest input of a checkpoint, in tokens."""
    return max_positions_of(load_config(uri).to_dict())


def check_ids(uri: str, tokenizer: TextTokenizer, network: Any) -> None:
    """Raise BundleError unless every id of the tokenizer has an embedding."""
    largest = largest_id(tokenizer.backend)
    rows = network.get_input_embeddings().num_embeddings
    if largest >= rows:
        raise BundleError(
            f"{uri}: token ids go up to {largest}, but the network has"
            f" embeddings for 0 to {rows - 1}. Use the tokenizer of this"
            " network"
        )


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Turn whatever a damaged or hostile checkpoint does to the library into one line."""
    try:
        yield
    except RubertOodError:
        raise
    except Exception as error:  # it cannot be foretold
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise BundleError(
            f"{uri}: the checkpoint does not load: {reason}. Check the hub"
            " name, folder or s3:// URI"
        ) from error


def _load(loader: Any, uri: str, **options: Any) -> Any:
    quiet_transformers()
    with _LOADING, _reading(uri):
        return loader.from_pretrained(
            local_checkpoint(uri), trust_remote_code=False, **options
        )

"""What would fail in every attempt to pretrain is found before one begins, in seconds."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import cross_entropy

from rubert_ood.classifier.checkpoint import (
    check_ids,
    load_for_pretraining,
    load_pretrained_tokenizer,
)
from rubert_ood.classifier.precision import Device
from rubert_ood.classifier.tokenizer import TextTokenizer
from rubert_ood.errors import BundleError, InputError
from rubert_ood.pretraining.layout import MaskedLayout
from rubert_ood.pretraining.masked_network import masked_network
from rubert_ood.pretraining.masking import Masker
from rubert_ood.settings import PretrainSettings
from rubert_ood.training.preflight import check_finite, check_length, trial

CPU = Device(torch.device("cpu"), "fp32")


def check_pretraining(settings: PretrainSettings) -> None:
    """Load the base model here and run it once, on the longest text that it may be given.

    Raises SettingsError on sizes that do not fit, BundleError on the base model.
    """
    uri, max_length = settings.base_model, settings.max_length
    tokenizer = load_pretrained_tokenizer(uri)
    if tokenizer.mask_token_id is None:
        raise BundleError(
            f"{uri}: the tokenizer has no mask token. Set mask_token"
            " in tokenizer_config.json"
        )
    network = load_for_pretraining(uri)
    check_length(uri, "max_length", max_length)
    check_ids(uri, TextTokenizer.of(tokenizer), network)
    share = settings.masking.word_fraction
    masker = Masker.of(tokenizer, share)
    if not len(masker.ordinary_ids):
        raise BundleError(
            f"{uri}: the tokenizer has special tokens only. Use another checkpoint"
        )
    with trial(uri, max_length):
        loss = _loss_of_longest(network, masker, max_length)
    check_finite(uri, loss)


@torch.inference_mode()
def _loss_of_longest(network: Any, masker: Masker, max_length: int) -> float:
    word = int(masker.ordinary_ids[0])
    texts = [[word] * max_length, [word]]
    ids = pa.array(texts, pa.list_(pa.int32()))
    layout = MaskedLayout(masker, pad_id=None)
    step = ids, np.random.default_rng(0)
    (batch,) = layout.batches(step)
    forward = masked_network(network, CPU).eval()
    logits_MV = forward(*batch.inputs)
    loss = cross_entropy(logits_MV, batch.labels_N)
    return float(loss)


def check_counts(settings: PretrainSettings, num_train: int, num_held_out: int) -> None:
    """Raise InputError when there are too few ads to train on, or to measure."""
    total = num_train + num_held_out
    if not total:
        raise InputError(
            f"{settings.input_uri}: no ad has readable text. Check"
            " columns.description, or use other ads"
        )
    num_workers = settings.compute.num_workers
    wanted = num_workers * settings.optimiser.batch_size
    if num_train < wanted:
        raise InputError(
            f"{settings.input_uri}: {num_train:,} ads do not fill one batch"
            f" of each worker ({wanted:,} ads). Add more ads, or lower"
            " compute.num_workers or optimiser.batch_size"
        )
    if num_held_out < num_workers:
        raise InputError(
            f"{settings.input_uri}: only {num_held_out:,} of {total:,} ads"
            " are held out, fewer than compute.num_workers. Add more ads,"
            " or raise masking.held_out_fraction"
        )

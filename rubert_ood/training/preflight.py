"""What would fail in every attempt to train is found before one begins, in seconds.

Shapes: N texts, L tokens, C classes, H hidden.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import ray

from rubert_ood.ads.dataset import Dataset
from rubert_ood.classifier.checkpoint import check_ids, load_network, max_positions
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.errors import BundleError, SchemaError, SettingsError
from rubert_ood.progress import StepLog
from rubert_ood.settings import Precision, TrainingComputeSettings, TrainSettings

log = StepLog("train")

MIN_CALIBRATION_ADS = 2
SAME = 1e-3
"""Of the largest number, between a text alone and one beside padding: far above rounding in fp32,
which is some 1e-6, and far below what a network makes of padding that it reads."""


def check_training(dataset: Dataset, settings: TrainSettings) -> None:
    """Load the base model here and run it once, on the longest text that training may give it.

    Raises SettingsError on sizes that do not fit, SchemaError on too few ads, BundleError on the
    base model.
    """
    _check_counts(dataset)
    uri, max_length = settings.base_model, settings.text.max_length
    wanted = settings.compute.num_workers * settings.optimiser.batch_size
    if len(dataset.train) < wanted:
        raise SchemaError(
            f"{len(dataset.train):,} training ads do not fill one batch of"
            f" each worker ({wanted:,} ads). Add more ads, or lower"
            " compute.num_workers or optimiser.batch_size"
        )
    check_length(uri, "text.max_length", max_length)
    tokenizer, network = load_tokenizer(uri), load_network(uri, dataset.labels)
    check_ids(uri, tokenizer, network)
    ids = tokenize(tokenizer, ["а " * max_length, "а"], max_length)
    _check_run(uri, Classifier(network, tokenizer, choose_device(False)), ids)


def _check_run(uri: str, classifier: Classifier, ids: pa.ListArray) -> None:
    """Raise BundleError unless the network computes what is wanted of two texts, long and short."""
    longest, config = len(ids[0]), classifier.network.config
    with trial(uri, longest):
        logits_NC, cls_NH, _ = classifier.run(ids, token_budget=2 * longest)
        alone = classifier.run(ids[1:], token_budget=longest)
    expected = (2, len(config.id2label)), (2, config.hidden_size)
    if (logits_NC.shape, cls_NH.shape) != expected:
        raise BundleError(
            f"{uri}: the network gives the shapes {logits_NC.shape} and"
            f" {cls_NH.shape}. Use a BERT-type checkpoint"
        )
    check_finite(uri, logits_NC, cls_NH)
    pairs = (logits_NC[1:], alone.logits), (cls_NH[1:], alone.cls)
    if not all(_is_close(*pair) for pair in pairs):
        raise BundleError(
            f"{uri}: the network reads padding as if it were text, so that scores depend"
            " on the batch. Use a BERT-type checkpoint"
        )


def check_length(uri: str, setting: str, max_length: int) -> None:
    """Raise SettingsError, which names the setting, when a checkpoint reads fewer tokens."""
    limit = max_positions(uri)
    if max_length > limit:
        raise SettingsError(
            f"{setting}: the model reads at most {limit:,} tokens, and"
            f" {max_length:,} are set. Lower {setting}"
        )


@contextmanager
def trial(uri: str, num_tokens: int) -> Iterator[None]:
    """Turn whatever another's network does to a text of so many tokens into a BundleError."""
    try:
        yield
    except Exception as error:  # it cannot be foretold
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"{uri}: the network fails on a text of {num_tokens:,} tokens"
            f" ({reason}). Use another checkpoint"
        ) from error


def check_finite(uri: str, *computed: np.ndarray | float) -> None:
    """Raise BundleError when a network computes other numbers than finite ones."""
    if not all(np.isfinite(numbers).all() for numbers in computed):
        raise BundleError(
            f"{uri}: the network computes NaN or infinite numbers. Use another checkpoint"
        )


def _is_close(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Say whether two arrays are equal to far more than rounding."""
    return bool(np.abs(found - wanted).max() <= SAME * np.abs(wanted).max())


def _check_counts(dataset: Dataset) -> None:
    """Raise SchemaError when the fit after the training would have too few ads."""
    name = "valid" if dataset.calibration is None else "calibration"
    split = dataset.calibration or dataset.valid
    if len(split) < MIN_CALIBRATION_ADS:
        raise SchemaError(
            f"thresholds need at least {MIN_CALIBRATION_ADS} {name} ads with"
            f" text, and there are {len(split)}. Add more"
        )
    if not dataset.train.num_with_two_texts():
        raise SchemaError(
            "no class has two different training texts, so nothing can be"
            " fitted. Add more ads"
        )


def warn_of_waiting(compute: TrainingComputeSettings) -> None:
    """Warn that the cluster is smaller than the training asks for."""
    wanted = {
        "CPU": compute.num_workers * compute.cpus_per_worker,
        "GPU": compute.num_workers * compute.use_gpu,
    }
    there = ray.cluster_resources()
    for name, count in wanted.items():
        if count > there.get(name, 0):
            log.warning(
                f"waits for {count:g} {name}, of which the cluster has"
                f" {there.get(name, 0):g}. Add nodes, or stop and lower"
                " compute.num_workers"
            )


def precision_of_training(compute: TrainingComputeSettings) -> Precision | None:
    """Return what the workers train in; None is the best that a GPU has.

    On CPU it is fp32; int8 is computed on CPU, also by workers that have a GPU.
    """
    if not compute.use_gpu:
        return "fp32"
    return None if compute.precision == "int8" else compute.precision


def precision_of_workers(compute: TrainingComputeSettings) -> Precision:
    """Ask a worker's node for the GPU and the numbers that are wanted; None is the best it has.

    Raises SettingsError. Waits, as training would, until the cluster has such a node.
    """
    wanted = compute.precision
    if not compute.use_gpu:
        return choose_device(False, wanted).precision
    warn_of_waiting(compute)
    ask = ray.remote(num_gpus=1, num_cpus=compute.cpus_per_worker, max_retries=2)(
        _precision_here
    )
    found, fault = ray.get(ask.remote(precision_of_training(compute)))
    if fault:
        raise SettingsError(fault)
    return wanted or found


def _precision_here(wanted: Precision | None) -> tuple[Precision, str]:
    """Return the numeric precision, and what forbids it.

    An exception would lose its class on the way through Ray.
    """
    try:
        return choose_device(True, wanted).precision, ""
    except SettingsError as error:
        return "fp32", str(error)

"""What a step of training takes on one device, way by way, for `make gpu-training`.

On one GPU the host starts the kernels, and the GPU waits for it where batches are small: `host` is
the share of the time until the host has started all of the steps.
"""

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import cosine_similarity

from benchmarks.training_ways import Captured, Compiled, Ours, Padded, Way
from rubert_ood.classifier.precision import Device

NUM_BATCHES = 8
CHECKED_STEPS = 3
TOLERANCE = 0.02
"""Of the loss, and of the cosine of the gradients."""

Make = Callable[[Any, Device], Way]


def ways(compiler: str) -> dict[str, Make]:
    return {
        "ours": Ours,
        "Trainer's step": Padded,
        "ours, one graph of the GPU": Captured,
        # the last one: compiling may take all the time that is left
        "ours, torch.compile": partial(Compiled, backend=compiler),
    }


def measure(
    make: Make, network: Any, device: Device, steps: list[pa.Table], seconds: float
) -> dict[str, float]:
    """Return real tokens a second, milliseconds of a step, and the share of the host.

    Raises ValueError if the way does not learn as the padded one does.
    """
    _check(make, network, device, steps[:CHECKED_STEPS])
    started = time.perf_counter()
    way = make(copy.deepcopy(network), device)
    batches = [way.lay_out(step) for step in steps]
    for batch in batches:
        way.take(batch)
    _wait(device)
    ready_s = time.perf_counter() - started
    started, num_steps, num_tokens = time.perf_counter(), 0, 0
    while time.perf_counter() - started < seconds:
        for batch in batches:
            way.take(batch)
            num_tokens += batch.num_tokens
        num_steps += len(batches)
    host_s = time.perf_counter() - started
    _wait(device)
    whole_s = time.perf_counter() - started
    return {
        "tokens_per_s": num_tokens / whole_s,
        "ms_of_a_step": 1000 * whole_s / num_steps,
        "host_share": host_s / whole_s,
        "start_up_s": ready_s,
    }


def random_steps(
    ids: pa.ListArray, num_ads: int, num_classes: int, num_batches: int = NUM_BATCHES
) -> list[pa.Table]:
    """Return steps of ads in random order, with random classes."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(ids))[: num_ads * num_batches]
    found = []
    for chosen in np.array_split(rows, num_batches):
        labels_N = rng.integers(0, num_classes, len(chosen))
        found.append(pa.table({"ids": ids.take(pa.array(chosen)), "label": labels_N}))
    return found


def _check(make: Make, network: Any, device: Device, steps: list[pa.Table]) -> None:
    """Compare loss and gradients of a few steps, without dropout, with those of the padded way."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    found, expected = (_learned(one, network, device, steps) for one in (make, Padded))
    for (loss, gradient_W), (plain_loss, plain_W) in zip(found, expected, strict=True):
        away = abs(loss - plain_loss)
        likeness = float(cosine_similarity(gradient_W, plain_W, dim=0))
        if not (away < TOLERANCE and likeness > 1 - TOLERANCE):  # NaN is not
            raise ValueError(
                f"its loss is {away:.2g} away from the padded way's, and the cosine of their"
                f" gradients {likeness:.3f}"
            )


def _learned(
    make: Make, network: Any, device: Device, steps: list[pa.Table]
) -> list[tuple[float, torch.Tensor]]:
    """Return the loss of each step, and the gradients of all weights (W,)."""
    network = copy.deepcopy(network)
    way, found = make(network, device), []
    for step in steps:
        loss = float(way.take(way.lay_out(step)))
        gradients = [weight.grad.flatten() for weight in network.parameters()]
        found.append((loss, torch.cat(gradients)))
    return found


def _wait(device: Device) -> None:
    if device.device.type == "cuda":
        torch.cuda.synchronize()

"""What a step of training costs the processor that starts the kernels of a GPU: python -m
benchmarks.training_host

Twelve layers of so narrow a network that its kernels take next to nothing, in bf16, on CPU: what is
left is Python, autograd and the start of each operator, on which a GPU waits where its batches are
small. Ours against the step inside the Trainer of Hugging Face (autocast, AdamW), without what the
Trainer does around it: the operators that a step starts, views aside, and processor seconds,
interleaved, median of the rounds. On CPU torch casts and updates tensors one by one which a GPU
takes at once, so that these seconds flatter the Trainer. No dropout of attention weights, so that
attention is one operator, as on a GPU. Prints JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.floor import machine
from benchmarks.training_ways import Ours, Padded, Way
from rubert_ood.classifier.precision import Device

NUM_ADS, LENGTH, NUM_CLASSES = 4, 8, 10
WARM_UP = 3
NO_KERNEL = {
    "_record_function_enter_new",
    "_record_function_exit",
    "_reshape_alias",
    "_unsafe_view",
    "detach",
    "empty",
    "empty_like",
}

Step = Callable[[], object]


class PlainProducts(Device):
    """A CPU that multiplies by torch's own products, as a GPU does."""

    def has_onednn(self) -> bool:
        return False


DEVICE = PlainProducts(torch.device("cpu"), "bf16")


def network() -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=100,
        hidden_size=24,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=48,
        num_labels=NUM_CLASSES,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config).train()


def taking(way: Way, ads: pa.Table) -> Step:
    batch = way.lay_out(ads)
    return lambda: way.take(batch)


class Operators(TorchDispatchMode):
    """Counts what touches memory."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.count += not (func.is_view or name in NO_KERNEL)
        return func(*args, **(kwargs or {}))


def operators(step: Step) -> int:
    with Operators() as found:
        step()
    return found.count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ids = pa.FixedSizeListArray.from_arrays(
        rng.integers(1, 100, NUM_ADS * LENGTH, dtype=np.int32), LENGTH
    )
    labels_N = rng.integers(0, NUM_CLASSES, NUM_ADS)
    ads = pa.table({"ids": ids.cast(pa.list_(pa.int32())), "label": labels_N})
    steps = {
        "ours": taking(Ours(network(), DEVICE), ads),
        "Trainer's step": taking(Padded(network(), DEVICE), ads),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(WARM_UP + rounds):
        for name, step in steps.items():
            started = time.process_time()
            step()
            if number >= WARM_UP:
                seconds[name].append(time.process_time() - started)
    ours, theirs = list(seconds.values())
    result = {
        "machine": machine(),
        "operators_of_a_step": {name: operators(step) for name, step in steps.items()},
        "ms_of_a_step": {name: 1000 * median(found) for name, found in seconds.items()},
        "ms_over_ours": median(b / a for a, b in zip(ours, theirs, strict=True)),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

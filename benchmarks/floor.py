"""What the machine is, and what it could do at best: FLOP/s of the matrix products that a model is
made of.

Shapes: R rows of one product, H hidden, F feed-forward width.
"""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rubert_ood.classifier.onednn import OneDnnLinear, can_use

SIZES = {"cpu": (4096, 2048), "cuda": (65_536, 8192)}
"""Rows of the model's own products, and the size of the square one."""
PRODUCT_S = 0.15
VERSIONS = (
    "torch",
    "transformers",
    "tokenizers",
    "ray",
    "pyarrow",
    "numpy",
    "onnxruntime",
    "openvino",
)


def linear_flops(config: object) -> int:
    """Return the FLOPs of one token in all linear layers of a BERT: what a full pass without
    padding must pay."""
    return config.num_hidden_layers * sum(
        2 * rows * columns for rows, columns in _products(config)
    )


def gemm_rates(config: object, device: str = "cpu") -> dict[str, float]:
    """Return FLOP/s: `peak` of a large square product, `model` of the model's own products,
    weighted by their FLOPs; on a GPU in bf16."""
    rows, size = SIZES[device]
    flops = [2 * inputs * outputs for inputs, outputs in _products(config)]
    seconds = [_seconds(device, rows, *product) for product in _products(config)]
    peak = 2 * size**3 / _seconds(device, size, size, size)
    return {"peak": peak, "model": rows * sum(flops) / sum(seconds)}


def _products(config: object) -> list[tuple[int, int]]:
    """Inputs and outputs of the linear layers of one encoder layer: query, key, value, output, up,
    down."""
    hidden, wide = config.hidden_size, config.intermediate_size
    return [(hidden, hidden)] * 4 + [(hidden, wide), (wide, hidden)]


@torch.inference_mode()
def _seconds(device: str, rows: int, inputs: int, outputs: int) -> float:
    """Median time of one product, repeated for PRODUCT_S, by the faster of the engines that torch
    has here."""
    data, layer = torch.randn(rows, inputs), torch.nn.Linear(inputs, outputs)
    if device == "cuda":
        data, layer = data.to(device, torch.bfloat16), layer.to(device, torch.bfloat16)
        return timed(lambda: (layer(data), torch.cuda.synchronize()), PRODUCT_S)
    engines = [layer, OneDnnLinear(layer)] if can_use() else [layer]
    return min(timed(lambda engine=engine: engine(data), PRODUCT_S) for engine in engines)


def timed(call: Callable[[], object], for_s: float) -> float:
    """Return the median seconds of a call, repeated for so long, at least three times after a
    warm-up."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < for_s:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times)


def machine() -> dict[str, Any]:
    """Return processor, cores and versions."""
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines()
        if os.path.exists("/proc/cpuinfo")
        else []
    )
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **versions,
    }

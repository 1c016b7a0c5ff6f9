"""Real tokens a second of the forward pass against the GEMM rate of the machine: python benchmarks/forward.py

Ways, interleaved, median of the rounds: the notebook's (two passes, batches of 32 in file order, padded), one padded
pass in file order, padded in length order, packed with the last layer for CLS alone. All must give the same numbers.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification

from rubert_ood.ads.synthetic import generate_ads
from rubert_ood.classifier.model import Classifier, choose_device
from rubert_ood.classifier.tokens import num_tokens

SHAPES = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "small": {"hidden_size": 312, "num_hidden_layers": 3, "num_attention_heads": 12, "intermediate_size": 600},
}
VOCABULARY, MAX_LENGTH, NUM_CLASSES = 30_000, 196, 50
TOKENS_PER_WORD = 2
GEMM_ROWS, GEMM_REPEATS = 2048, 8

Way = Callable[[pa.ListArray], tuple[np.ndarray, np.ndarray]]


class Padding:
    """What Classifier asks of a tokenizer when the texts are tokens already."""

    pad_token_id = 0


def random_ids(num_ads: int) -> pa.ListArray:
    """Random tokens in the lengths of generated ads, list<int32>: the values cost nothing, the lengths do."""
    table = pa.Table.from_batches(list(generate_ads(num_ads, seed=3)))
    rng = np.random.default_rng(0)
    words = [
        len(f"{title or ''} {description or ''}".split())
        for title, description in zip(table["title"].to_pylist(), table["description"].to_pylist(), strict=True)
    ]
    lengths = [min(MAX_LENGTH, 2 + TOKENS_PER_WORD * count) for count in words]
    return pa.array([rng.integers(5, VOCABULARY, length).tolist() for length in lengths], pa.list_(pa.int32()))


def file_order(network: Any, *, passes: int, batch_ads: int = 32) -> Way:
    """Pad batches in file order. With two passes the second one is for CLS, as the notebook has it."""

    @torch.inference_mode()
    def run(ids: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
        logits, cls = [], []
        for start in range(0, len(ids), batch_ads):
            rows = [torch.tensor(row) for row in ids[start : start + batch_ads].to_pylist()]
            ids_NL = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            mask_NL = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            output = network(input_ids=ids_NL, attention_mask=mask_NL, output_hidden_states=passes == 1)
            hidden = output.hidden_states[-1] if passes == 1 else network.bert(ids_NL, mask_NL).last_hidden_state
            logits.append(output.logits.numpy())
            cls.append(hidden[:, 0].numpy())
        return np.concatenate(logits), np.concatenate(cls)

    return run


def ours(network: Any, *, packs: bool, token_budget: int) -> Way:
    classifier = Classifier(network, Padding(), choose_device(False))
    classifier._packs = packs
    return lambda ids: classifier.run(ids, token_budget=token_budget)


def gemm_rate(shape: dict[str, int]) -> float:
    """Return FLOP/s of the two feed-forward GEMMs of the shape, the larger part of a layer."""
    rows, wide = torch.randn(GEMM_ROWS, shape["hidden_size"]), torch.randn(GEMM_ROWS, shape["intermediate_size"])
    up = torch.randn(shape["hidden_size"], shape["intermediate_size"])
    down = up.T.contiguous()
    started = time.perf_counter()
    for _ in range(GEMM_REPEATS):
        rows @ up
        wide @ down
    return GEMM_REPEATS * 4 * rows.numel() * shape["intermediate_size"] / (time.perf_counter() - started)


def linear_flops(shape: dict[str, int]) -> int:
    """Return the FLOPs of a token in the linear layers: what a full pass without padding must pay."""
    hidden, wide = shape["hidden_size"], shape["intermediate_size"]
    return 2 * shape["num_hidden_layers"] * (4 * hidden * hidden + 2 * hidden * wide)


def measure(name: str, num_ads: int, rounds: int, token_budget: int) -> dict[str, Any]:
    shape, ids = SHAPES[name], random_ids(num_ads)
    torch.manual_seed(0)
    network = BertForSequenceClassification(BertConfig(vocab_size=VOCABULARY, num_labels=NUM_CLASSES, **shape)).eval()
    ways = {
        "two passes, file order": file_order(network, passes=2),
        "one pass, file order": file_order(network, passes=1),
        "padded, length order": ours(network, packs=False, token_budget=token_budget),
        "packed, last layer for CLS": ours(network, packs=True, token_budget=token_budget),
    }
    tokens = int(num_tokens(ids).sum())
    rates: dict[str, list[float]] = {way: [] for way in ways}
    limits, first = [], None
    for _ in range(rounds):
        limits.append(gemm_rate(shape) / linear_flops(shape))
        for way, run in ways.items():
            started = time.perf_counter()
            got = run(ids)
            rates[way].append(tokens / (time.perf_counter() - started))
            first = got if first is None else first
            for mine, theirs in zip(got, first, strict=True):
                np.testing.assert_allclose(mine, theirs, atol=1e-4)
    limit = statistics.median(limits)
    medians = {way: statistics.median(values) for way, values in rates.items()}
    return {
        "shape": name,
        "ads": num_ads,
        "tokens": tokens,
        "gemm_limit_tokens_per_s": round(limit),
        "tokens_per_s": {way: round(rate) for way, rate in medians.items()},
        "share_of_limit": {way: round(rate / limit, 3) for way, rate in medians.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base_ads", type=int, default=60)
    parser.add_argument("--small_ads", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--token_budget", type=int, default=4096)
    arguments = parser.parse_args()
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps(versions | {"threads": torch.get_num_threads()}))
    for name, num_ads in (("base", arguments.base_ads), ("small", arguments.small_ads)):
        print(json.dumps(measure(name, num_ads, arguments.rounds, arguments.token_budget), indent=1))


if __name__ == "__main__":
    main()

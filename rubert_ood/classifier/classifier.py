"""The classifier: one forward pass turns tokens into logits and the last CLS vector of each text.

Shapes: N ads, L tokens, C classes, H hidden.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from rubert_ood.classifier import onednn, packed
from rubert_ood.classifier.checkpoint import check_ids, load_network, load_tokenizer
from rubert_ood.classifier.precision import Device, choose_device
from rubert_ood.classifier.tokens import (
    length_batches,
    num_padding,
    num_tokens,
    pack,
    pad,
)
from rubert_ood.settings import Precision

Outputs = tuple[torch.Tensor, torch.Tensor]
"""Logits (n, C) and CLS (n, H) of a batch."""


def _one_batch_per_thread(
    forward: Callable[[np.ndarray], Outputs], batches: list[np.ndarray]
) -> list[Outputs]:
    """Run batches side by side, each on one of torch's threads.

    Threads that share a batch wait for each other at every product, and wait long where another
    process takes a core now and then.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1 or len(batches) < num_threads:
        return [forward(rows) for rows in batches]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(num_threads) as pool:
            return list(pool.map(forward, batches))
    finally:
        torch.set_num_threads(num_threads)


class ClsTap:
    """Keep the CLS vector of the last layer, before any pooler, as a forward pass computes it."""

    def __init__(self, network: Any) -> None:
        self.cls_NH: torch.Tensor | None = None
        network.base_model.register_forward_hook(self._keep)

    def _keep(self, _module: Any, _inputs: Any, output: Any) -> None:
        self.cls_NH = output[0][:, 0]


class Classifier:
    """A network and its tokenizer, ready to score; the network is owned, and may be rebuilt."""

    def __init__(self, network: Any, tokenizer: Any, device: Device) -> None:
        self.network = device.prepare(network)
        self.tokenizer = tokenizer
        self.device = device
        self._tap = ClsTap(self.network)
        self._packs = device.device.type == "cpu" and packed.can_pack(self.network)
        if self._packs and device.precision == "fp32" and onednn.can_use():
            onednn.use_onednn(self.network)

    @classmethod
    def load(
        cls, uri: str, *, use_gpu: bool = False, precision: Precision | None = None
    ) -> "Classifier":
        """Load a checkpoint; SettingsError when the device lacks what is asked for."""
        device = choose_device(use_gpu, precision)
        network, tokenizer = load_network(uri), load_tokenizer(uri)
        check_ids(uri, tokenizer, network)
        return cls(network, tokenizer, device)

    @torch.inference_mode()
    def forward(self, ids_NL: torch.Tensor, mask_NL: torch.Tensor) -> Outputs:
        """Return float32 logits (N, C) and CLS (N, H)."""
        with self.device.context():
            logits_NC = self.network(input_ids=ids_NL, attention_mask=mask_NL).logits
        assert self._tap.cls_NH is not None
        return logits_NC.float(), self._tap.cls_NH.float()

    def run(
        self, ids: pa.ListArray, *, token_budget: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Score unpadded token ids in length-ordered batches; the rows come back in input order.

        Returns float32 logits (N, C) and CLS (N, H).
        """
        config = self.network.config
        logits_NC = np.empty((len(ids), config.num_labels), np.float32)
        cls_NH = np.empty((len(ids), config.hidden_size), np.float32)
        batches = length_batches(num_tokens(ids), token_budget)
        if self._packs:
            outputs = _one_batch_per_thread(partial(self._forward_packed, ids), batches)
        else:  # a GPU gets all batches before the first result is asked for: it never waits
            outputs = [self._forward_padded(ids, rows) for rows in batches]
        for rows, (logits, cls) in zip(batches, outputs, strict=True):
            logits_NC[rows] = logits.cpu().numpy()
            cls_NH[rows] = cls.cpu().numpy()
        return logits_NC, cls_NH

    def padded_tokens(self, ids: pa.ListArray, *, token_budget: int) -> int:
        """Count the padding that `run` computes beside the tokens; none where ads are packed."""
        return 0 if self._packs else num_padding(num_tokens(ids), token_budget)

    @torch.inference_mode()
    def _forward_packed(self, ids: pa.ListArray, rows: np.ndarray) -> Outputs:
        with self.device.context():
            ids_T, lengths_N = pack(ids, rows)
            logits_NC, cls_NH = packed.forward(
                self.network, torch.from_numpy(ids_T), torch.from_numpy(lengths_N)
            )
        return logits_NC.float(), cls_NH.float()

    def _forward_padded(self, ids: pa.ListArray, rows: np.ndarray) -> Outputs:
        ids_NL, mask_NL = pad(ids, rows, self.tokenizer.pad_token_id)
        return self.forward(self._to_device(ids_NL), self._to_device(mask_NL))

    def _to_device(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.device.device.type == "cuda":
            return tensor.pin_memory().to(self.device.device, non_blocking=True)
        return tensor

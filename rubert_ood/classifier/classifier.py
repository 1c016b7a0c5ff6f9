"""The classifier: one forward pass turns tokens into logits and features of each text.

Shapes: N ads, L tokens, C classes, H hidden.
"""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import torch

from rubert_ood.classifier import fused, onednn, packed
from rubert_ood.classifier.attention import choose_attention
from rubert_ood.classifier.batch_threads import run_batches
from rubert_ood.classifier.checkpoint import check_ids, load_for_scoring
from rubert_ood.classifier.precision import Device, choose_device
from rubert_ood.classifier.tokenizer import TextTokenizer, load_tokenizer
from rubert_ood.classifier.tokens import (
    length_batches,
    num_padding,
    num_tokens,
    pack,
    packed_batches,
    pad,
)
from rubert_ood.settings import Precision

Array = TypeVar("Array")


class Answer(NamedTuple, Generic[Array]):
    """What the network says of N texts, float32."""

    logits: Array
    """(N, C)."""
    cls: Array
    """(N, H), CLS of the last layer, before any pooler."""
    tokens: Array
    """(N, H), mean of the vectors of all tokens that enter the last layer."""


Tensors = Answer[torch.Tensor]


class ClsTap:
    """Keep the CLS vector of the last layer, before any pooler, as a forward pass computes it."""

    def __init__(self, network: Any) -> None:
        self.cls_NH: torch.Tensor | None = None
        network.base_model.register_forward_hook(self._keep)

    def _keep(self, _module: Any, _inputs: Any, output: Any) -> None:
        self.cls_NH = output[0][:, 0]


class Classifier:
    """A network and its tokenizer, ready to score; the network is owned, and may be rebuilt."""

    def __init__(self, network: Any, tokenizer: TextTokenizer, device: Device) -> None:
        self._packs = packed.can_pack(network)
        self.network = device.prepare(network)
        self.tokenizer = tokenizer
        self.device = device
        if not self._packs:
            self._tap = ClsTap(self.network)
            return
        if device.precision == "bf16":
            packed.store_in_bf16(self.network)
            if device.device.type == "cuda":
                fused.use_fused(self.network, device.device)
        if device.has_onednn():
            onednn.use_onednn(self.network)
        where = device.device, device.dtype
        self._attention = choose_attention(*where, network.config)

    @classmethod
    def load(
        cls,
        uri: str,
        tokenizer: TextTokenizer | None = None,
        *,
        use_gpu: bool = False,
        precision: Precision | None = None,
    ) -> "Classifier":
        """Load a checkpoint, and its tokenizer unless that is given.

        Raises SettingsError when the device lacks what is asked for.
        """
        device = choose_device(use_gpu, precision)
        network, tokenizer = load_for_scoring(uri), tokenizer or load_tokenizer(uri)
        check_ids(uri, tokenizer, network)
        return cls(network, tokenizer, device)

    @property
    def serves_several(self) -> bool:
        """Say whether threads may run it at a time: batches then keep apart on all threads."""
        return self._packs and self.device.device.type == "cpu"

    @torch.inference_mode()
    def forward(self, ids_NL: torch.Tensor, mask_NL: torch.Tensor) -> Tensors:
        """Run a network that is not packed on a padded batch."""
        with self.device.context():
            found = self.network(
                input_ids=ids_NL, attention_mask=mask_NL, output_hidden_states=True
            )
        assert self._tap.cls_NH is not None
        weights_NL1 = mask_NL[:, :, None] / mask_NL.sum(1)[:, None, None]
        tokens_NH = (found.hidden_states[-2].float() * weights_NL1).sum(1)
        return Answer(found.logits.float(), self._tap.cls_NH.float(), tokens_NH)

    def run(self, ids: pa.ListArray, *, token_budget: int) -> Answer[np.ndarray]:
        """Score unpadded token ids in length-ordered batches; the rows come back in input order."""
        found = self.outputs(ids, token_budget=token_budget)
        return Answer(*(tensor.cpu().numpy() for tensor in found))

    @torch.inference_mode()
    def outputs(self, ids: pa.ListArray, *, token_budget: int) -> Tensors:
        """Do as `run`, and leave the tensors on the device: a GPU may still compute them.

        It gets all batches at once, so that it never waits for the host.
        """
        config, batches = self.network.config, self._batches(ids, token_budget)
        if not batches:
            none_NC = torch.empty(0, len(config.id2label), device=self.device.device)
            none_NH = none_NC.new_empty(0, config.hidden_size)
            return Answer(none_NC, none_NH, none_NH)
        found = self._run_packed(ids, batches) if self._packs else []
        if not self._packs:
            found = [self._forward_padded(ids, rows) for rows in batches]
        rows_N = self.device.put(np.concatenate(batches))
        columns = zip(*found, strict=True)
        return Answer(*(_in_input_order(column, rows_N) for column in columns))

    def padded_tokens(self, ids: pa.ListArray, *, token_budget: int) -> int:
        """Count the padding that `run` computes beside the tokens; none where ads are packed."""
        return 0 if self._packs else num_padding(num_tokens(ids), token_budget)

    def _batches(self, ids: pa.ListArray, token_budget: int) -> list[np.ndarray]:
        cut = packed_batches if self._packs else length_batches
        return cut(num_tokens(ids), token_budget)

    def _run_packed(
        self,
        ids: pa.ListArray,
        batches: list[np.ndarray],
    ) -> list[Tensors]:
        """Lay all ads out at once, in the order of the batches, and run batch after batch."""
        ids_T, lengths = pack(ids, np.concatenate(batches))
        num_ads = [len(rows) for rows in batches]
        lengths_of = np.split(lengths, np.cumsum(num_ads)[:-1])
        ids_of = self.device.put(ids_T).split([int(part.sum()) for part in lengths_of])
        here = self.device.put(lengths).split(num_ads)
        laid_out = []
        for part, ids_t, lengths_n in zip(lengths_of, ids_of, here, strict=True):
            attend = self._attention(part, lengths_n)
            laid_out.append(packed.PackedBatch(ids_t, lengths_n, attend))
        if self.serves_several:
            return run_batches(self._forward_packed, laid_out)
        return [self._forward_packed(batch) for batch in laid_out]

    @torch.inference_mode()
    def _forward_packed(self, batch: packed.PackedBatch) -> Tensors:
        found = packed.forward(self.network, batch, self.device.dtype)
        return Answer(*(tensor.float() for tensor in found))

    def _forward_padded(self, ids: pa.ListArray, rows: np.ndarray) -> Tensors:
        ids_NL, mask_NL = pad(ids, rows, self.tokenizer.ids.pad)
        return self.forward(self.device.put(ids_NL), self.device.put(mask_NL))


def _in_input_order(
    batches: Sequence[torch.Tensor], rows_N: torch.Tensor
) -> torch.Tensor:
    """Join what was computed of ads rows_N, and put each row at the place of its ad."""
    joined_NX = torch.cat(batches)
    return torch.empty_like(joined_NX).index_copy_(0, rows_N, joined_NX)

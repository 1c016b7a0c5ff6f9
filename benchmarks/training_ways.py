"""Ways to take a step of training on ads that are there already: without Ray, files or encoding.

A way lays the ads of a step out beforehand, as a thread does in a training, and takes the step:
forward and backward pass, norm of the gradients, AdamW. It returns the mean loss.

Shapes: N ads, T tokens, C classes.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import pad

from rubert_ood.classifier import packed
from rubert_ood.classifier.attention import Attention
from rubert_ood.classifier.precision import Device
from rubert_ood.settings import OptimiserSettings
from rubert_ood.training.batches import Batch, Layout
from rubert_ood.training.optimiser import make_optimiser, make_schedule
from rubert_ood.training.steps import Stepper, summed_loss
from rubert_ood.training.trained_attention import TrainedAttention
from rubert_ood.training.trained_network import PackedNetwork, trained_network

RATE = 1e-9
"""So low that all ways work on the same weights."""
SETTINGS = OptimiserSettings(learning_rate=RATE).by("notebook")
MANY_STEPS = 1_000_000
GRAPH_TOKENS = 512
"""A graph of the GPU is for one number of tokens, a multiple of this."""
PAD_ID, FILLING_ID = 0, 1
WARM_UP = 2


class Way(Protocol):
    """Takes steps of training."""

    def lay_out(self, ads: pa.Table) -> Batch:
        """Return the ads of a step, columns `ids` and `label`, as `take` wants them."""

    def take(self, batch: Batch) -> torch.Tensor:
        """Change the weights once; return the mean loss, on the device."""


class LaidOut:
    """Lays the ads of a step out as one batch."""

    layout: Layout

    def lay_out(self, ads: pa.Table) -> Batch:
        (batch,) = self.layout.batches(ads)
        return batch


class Ours(LaidOut):
    """The step of our training."""

    def __init__(self, network: Any, device: Device) -> None:
        self.device = device
        self.model = trained_network(network.to(device.device).train(), device)
        pad_id = None if isinstance(self.model, PackedNetwork) else PAD_ID
        self.layout = Layout(pad_id, pinned=device.device.type == "cuda")
        optimiser = make_optimiser(network, SETTINGS)
        schedule = make_schedule(optimiser, SETTINGS, MANY_STEPS)
        self.stepper = Stepper(
            self.model, device, optimiser, schedule, SETTINGS.max_grad_norm
        )

    def take(self, batch: Batch) -> torch.Tensor:
        return self.stepper.take([batch])


class Padded(LaidOut):
    """The step inside the Trainer of Hugging Face, without what the Trainer does around it."""

    def __init__(self, network: Any, device: Device) -> None:
        self.device = device
        self.network = network.to(device.device).train()
        self.layout = Layout(PAD_ID, pinned=device.device.type == "cuda")
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, fused=True)

    def take(self, batch: Batch) -> torch.Tensor:
        batch = batch.to(self.device.device)
        ids_NL, mask_NL = batch.inputs
        self.optimiser.zero_grad()
        with self.device.context():
            found = self.network(
                input_ids=ids_NL, attention_mask=mask_NL, labels=batch.labels_N
            )
        found.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return found.loss.detach()


class Captured(Ours):
    """Our step with forward and backward pass as one graph of the GPU, which the host starts at
    once; on CPU the same passes without a graph.

    A graph has one shape: an ad more, which does not count, fills the tokens up.
    """

    def __init__(self, network: Any, device: Device) -> None:
        super().__init__(network, device)
        _want_packed(self.model)
        self.weights = list(network.parameters())
        for weight in self.weights:
            weight.grad = torch.zeros_like(weight)  # where every graph finds it
        self.passes: dict[tuple[int, int], Callable[[Batch], torch.Tensor]] = {}

    def lay_out(self, ads: pa.Table) -> Batch:
        batch = super().lay_out(ads)
        ids_T, _, lengths = batch.inputs
        missing = GRAPH_TOKENS - len(ids_T) % GRAPH_TOKENS
        ids_T = pad(ids_T, (0, missing), value=FILLING_ID)
        lengths = np.append(lengths, missing)
        filled = ids_T, torch.from_numpy(lengths)
        if self.layout.pinned:
            filled = tuple(part.pin_memory() for part in filled)
        return replace(batch, inputs=(*filled, lengths))

    def take(self, batch: Batch) -> torch.Tensor:
        shape = len(batch.inputs[0]), len(batch.labels_N)
        if shape not in self.passes:
            is_graph = self.device.device.type == "cuda"
            self.passes[shape] = self._graph(batch) if is_graph else self._run
        loss = self.passes[shape](batch)
        torch.nn.utils.clip_grad_norm_(self.weights, SETTINGS.max_grad_norm)
        self.stepper.optimiser.step()
        self.stepper.schedule.step()
        return loss

    def _run(self, batch: Batch) -> torch.Tensor:
        """Make the gradients; return the mean loss."""
        torch._foreach_zero_([weight.grad for weight in self.weights])
        logits_NC = self.model(*batch.inputs).float()[:-1]
        loss = summed_loss(logits_NC, batch.labels_N) / len(batch.labels_N)
        loss.backward()
        return loss.detach()

    def _graph(self, first: Batch) -> Callable[[Batch], torch.Tensor]:
        """Capture the passes for batches of this shape."""
        batch = first.to(self.device.device)
        ids_T, lengths_N, lengths = batch.inputs
        longest = np.full_like(lengths, GRAPH_TOKENS)  # of any batch of this shape
        static = replace(batch, inputs=(ids_T, lengths_N, longest))
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                self._run(static)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._run(static)

        def replay(batch: Batch) -> torch.Tensor:
            for place, part in ((ids_T, batch.inputs[0]), (lengths_N, batch.inputs[1])):
                place.copy_(part, non_blocking=True)
            static.labels_N.copy_(batch.labels_N, non_blocking=True)
            graph.replay()
            return loss

        return replay


class Compiled(Ours):
    """Our step with what lies between two attentions compiled."""

    def __init__(self, network: Any, device: Device, backend: str) -> None:
        super().__init__(network, device)
        _want_packed(self.model)
        encoder = self.model.encoder
        encoder._attention = partial(_uncompiled, encoder._attention)
        self.run_layers = torch.compile(packed.run_layers, dynamic=True, backend=backend)

    def take(self, batch: Batch) -> torch.Tensor:
        with mock.patch.object(packed, "run_layers", self.run_layers):
            return super().take(batch)


def _want_packed(model: torch.nn.Module) -> None:
    if not isinstance(model, PackedNetwork):
        raise NotImplementedError("ads are padded on this device")


def _uncompiled(make: TrainedAttention, *arguments: Any) -> Attention:
    return torch.compiler.disable(make(*arguments).__call__)

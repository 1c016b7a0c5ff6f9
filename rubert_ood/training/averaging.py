"""The running mean of the weights, which valid is measured with and the bundle holds.

Source: Polyak and Juditsky 1992; exponential, with a ramp, as in Tan and Le 2019.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

RAMP = 10
"""The first means reach back over a tenth of the steps so far: the start is soon forgotten."""


class WeightAverage:
    """The mean over the last steps, by an exponential of the given length."""

    def __init__(self, network: torch.nn.Module, num_steps: float) -> None:
        """Begin at the network as it is; its own weights are never changed."""
        self._num_steps, self._network = max(num_steps, 1.0), network
        self._averaged = AveragedModel(network, multi_avg_fn=self._move)

    @property
    def network(self) -> Any:  # noqa: ANN401 - of transformers
        """The network with the mean of the weights."""
        return self._averaged.module

    def update(self) -> None:
        """Take the weights of a step in."""
        self._averaged.update_parameters(self._network)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs beside the mean itself."""
        return {"num_steps": int(self._averaged.n_averaged)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the mean that the network was when this began."""
        self._averaged.n_averaged.fill_(state["num_steps"])

    @torch.no_grad()
    def _move(
        self,
        means: Sequence[torch.Tensor],
        weights: Sequence[torch.Tensor],
        num_averaged: torch.Tensor,
    ) -> None:
        share = max(1 / self._num_steps, RAMP / (RAMP + float(num_averaged)))
        torch._foreach_lerp_(list(means), list(weights), share)

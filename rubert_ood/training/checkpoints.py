"""Checkpoints of a training: what they hold, how they are written and read, and when one is due.

A checkpoint lies between two steps. It holds network, tokenizer, optimiser and schedule, and how
far the training is, so that any worker group goes on from exactly there.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed
from pydantic import ConfigDict, TypeAdapter

from rubert_ood.runs.record import Count, Record, parse

STATE_FILE = "state.json"
OPTIMISER_FILE = "optimiser.pt"
NUMBERS = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="constants")
"""A loss on valid may be infinite."""
EARLY = 0.9
"""A checkpoint is due after this share of the time: the next look may come a little late."""


class Saved(Protocol):
    """A network of transformers."""

    def save_pretrained(self, folder: str) -> object:
        """Write it into a folder."""


class Stateful(Protocol):
    """An optimiser or a schedule."""

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""

    def load_state_dict(self, state: dict[str, Any]) -> object:
        """Go on from such a state."""


class EpochSums(Record):
    """What the steps of an epoch add up to, over all workers."""

    model_config = NUMBERS

    loss: float = 0.0
    """Mean losses of steps, added up."""
    losses: Count = 0
    """How many; each worker has its own."""
    tokens: Count = 0
    seconds: float = 0.0
    """Of one worker: they work side by side."""
    grad_norm: float = 0.0
    """Norms of the steps, added up: all workers have the same."""
    learning_rate: float = 0.0
    """Highest rates of the steps, added up."""


class TrainingState(Record):
    """How far a training is."""

    model_config = NUMBERS

    epoch: Count = 0
    """Finished epochs."""
    history: tuple[dict[str, int | float], ...] = ()
    """Their metrics."""
    step: Count = 0
    """Steps of the epoch under way that are done; 0 in files of 0.4.0 and before."""
    sums: EpochSums = EpochSums()
    """Of these steps."""


def save_checkpoint(
    folder: str,
    state: TrainingState,
    network: Saved,
    parts: dict[str, Stateful],
) -> None:
    """Write a checkpoint, beside its tokenizer: the network, the state of parts, how far it is."""
    network.save_pretrained(folder)
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save(states, os.path.join(folder, OPTIMISER_FILE))
    with open(os.path.join(folder, STATE_FILE), "w") as file:
        file.write(state.model_dump_json())


def read_state(folder: str) -> TrainingState:
    """Read how far the training of a checkpoint is; InputError on a damaged file."""
    path = os.path.join(folder, STATE_FILE)
    with open(path, "rb") as file:
        return parse(path, file.read(), TypeAdapter(TrainingState))


def restore_parts(folder: str, parts: dict[str, Stateful]) -> None:
    """Give optimiser, schedule and the like the state that a checkpoint has of them."""
    states = torch.load(
        os.path.join(folder, OPTIMISER_FILE), weights_only=True, map_location="cpu"
    )
    for name, part in parts.items():
        part.load_state_dict(states[name])


@dataclass
class CheckpointClock:
    """Says after which steps a checkpoint is due, the same on all workers.

    The first worker looks at its clock, and tells the others when to look again: after half of the
    steps that fit into what is left of the time, so that they seldom wait for each other.
    """

    every_s: float
    """The most work that may be lost."""
    now: Callable[[], float] = time.monotonic
    _since: float = field(init=False)
    _looked_at: int = field(init=False, default=0)
    _next_look: int = field(init=False, default=1)
    _steps: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin to count: what was done up to now is in a checkpoint."""
        self._since = self.now()
        self._steps, self._next_look = 0, 1

    def is_due(self, *, until_next_s: float | None = None) -> bool:
        """Say after a step whether a checkpoint is due.

        until_next_s: what is known to pass before the next question, which may be long.
        """
        self._steps += 1
        if self._steps < self._next_look and until_next_s is None:
            return False
        passed_s = self.now() - self._since
        left_s = EARLY * self.every_s - passed_s - (until_next_s or 0.0)
        ahead = int(left_s / 2 / (passed_s / self._steps)) if passed_s else 1
        is_due, ahead = _from_first_worker([int(left_s <= 0), max(1, ahead)])
        self._next_look = self._steps + ahead
        return bool(is_due)


def _from_first_worker(values: list[int]) -> list[int]:
    """Return the values of rank 0."""
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.broadcast_object_list(values, src=0)
    return values

"""What a checkpoint holds, and when one is due."""

import json

import pytest
import torch

from rubert_ood.errors import InputError
from rubert_ood.training.checkpoints import (
    CheckpointClock,
    EpochSums,
    TrainingState,
    read_state,
    restore_parts,
    save_checkpoint,
)
from tests.unit.training.process_group import on_two_workers


class _Saved:
    def save_pretrained(self, folder: str) -> None:
        with open(f"{folder}/model.txt", "w") as file:
            file.write("weights")


def _optimiser() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(3):
        layer(torch.ones(1, 3)).sum().backward()
        optimiser.step()
    return layer, optimiser


def test_checkpoint_gives_back_state_network_and_optimiser(tmp_path):
    sums = EpochSums(loss=1.25, losses=7, tokens=900, seconds=0.5)
    history = ({"epoch": 1, "valid_macro_f1": 0.5, "valid_loss": float("inf")},)
    state = TrainingState(epoch=1, history=history, step=7, sums=sums)
    _, optimiser = _optimiser()
    save_checkpoint(str(tmp_path), state, _Saved(), {"optimiser": optimiser})
    assert read_state(str(tmp_path)) == state
    assert (tmp_path / "model.txt").read_text() == "weights"
    fresh = torch.optim.AdamW(torch.nn.Linear(3, 2).parameters(), lr=0.9)
    restore_parts(str(tmp_path), {"optimiser": fresh})
    found = fresh.state_dict()["state"][0]["exp_avg"]
    assert torch.equal(found, optimiser.state_dict()["state"][0]["exp_avg"])
    assert fresh.param_groups[0]["lr"] == 0.1


def test_state_of_version_0_4_lies_between_epochs(tmp_path):
    content = {"epoch": 2, "history": [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2}]}
    (tmp_path / "state.json").write_text(json.dumps(content))
    state = read_state(str(tmp_path))
    assert (state.epoch, state.step, len(state.history)) == (2, 0, 2)
    assert state.sums == EpochSums()
    assert isinstance(state.history[0]["epoch"], int)


def test_state_that_is_damaged_is_one_line(tmp_path):
    (tmp_path / "state.json").write_text('{"epoch": "two"}')
    with pytest.raises(InputError, match=r"state\.json: the file is damaged \(epoch"):
        read_state(str(tmp_path))


class _Time:
    """A clock that moves when it is told to; counts how often it is looked at."""

    def __init__(self) -> None:
        self.now, self.looks = 0.0, 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now


@pytest.mark.parametrize(("step_s", "every_s"), [(0.05, 60), (1, 60), (7, 60), (50, 60)])
def test_clock_is_due_before_more_is_lost_and_looks_seldom(step_s, every_s):
    time = _Time()
    clock = CheckpointClock(every_s, now=time)
    num_steps = 0
    while True:
        time.now += step_s
        num_steps += 1
        if clock.is_due():
            break
    assert time.now <= max(every_s, 2 * step_s)
    assert time.now >= 0.8 * every_s or step_s > 0.1 * every_s
    assert time.looks <= 20


def test_clock_of_steps_that_slow_down_is_late_by_no_more_than_their_change():
    time = _Time()
    clock = CheckpointClock(60, now=time)
    while True:
        time.now += 1 if time.now < 20 else 1.5
        if clock.is_due():
            break
    assert time.now <= 60


def test_clock_restarts_from_a_checkpoint():
    time = _Time()
    clock = CheckpointClock(10, now=time)
    time.now = 9.5
    assert clock.is_due()
    clock.restart()
    time.now = 12.0
    assert not clock.is_due()


def test_clock_thinks_of_what_comes_before_it_is_asked_again():
    time = _Time()
    clock = CheckpointClock(100, now=time)
    time.now = 30.0
    assert not clock.is_due(until_next_s=10.0)
    assert clock.is_due(until_next_s=70.0)


def test_clock_answers_the_same_on_all_workers(tmp_path):
    """The second worker's clock stands still: what the first one says counts."""

    def worker(rank: int) -> list[bool]:
        time = _Time()
        clock = CheckpointClock(10, now=time)
        answers = []
        for _ in range(30):
            time.now += 0.5 if rank == 0 else 0.0
            answers.append(clock.is_due())
            if answers[-1]:
                clock.restart()
        return answers

    first, second = on_two_workers(worker, tmp_path)
    assert first == second
    assert sum(first) == 1

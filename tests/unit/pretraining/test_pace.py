"""Progress of a pretraining: how fast, and how long still."""

import torch

from rubert_ood.pretraining.pace import Pace
from rubert_ood.training.batches import Batch


class _Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _step(num_tokens: int) -> list[Batch]:
    return [Batch((), torch.empty(0), num_tokens)]


def test_pace_tells_speed_and_time_left_of_a_resumed_epoch():
    clock = _Clock()
    pace = Pace(num_steps=100, done=40, num_workers=2, now=clock)
    due = []
    for _ in range(10):
        clock.seconds += 1
        due.append(pace.add(_step(300)))
    assert due == [False] * 4 + [True] + [False] * 4 + [True]
    line = pace.line(2.5, later_steps=200)  # 50 + 200 steps of a second
    assert line == " 50%  loss 2.500  600 tokens/s  4:10 left"

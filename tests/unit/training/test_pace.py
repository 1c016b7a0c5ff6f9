"""How long a training still takes."""

from itertools import count

from rubert_ood.training.pace import Pace


def test_pace_is_that_of_the_steps_of_this_process():
    seconds = iter([100.0, 110.0, 160.0, 200.0])
    pace = Pace(120, done=20, now=lambda: next(seconds))
    assert pace.left(25) == "3:10 left"  # 2 s a step, 95 steps
    assert pace.left(50) == "2:20 left"  # 60 s for 30 steps, 70 steps
    assert pace.left(120) == "0:00 left"


def test_pace_before_the_first_step_has_no_speed():
    clock = count()
    assert Pace(10, now=lambda: float(next(clock))).left(0) == "0:10 left"


def test_pace_asks_for_a_line_every_five_seconds():
    seconds = iter([100.0, 104.9, 105.0, 105.0, 109.9, 110.1, 110.1])
    pace = Pace(10, now=lambda: next(seconds))
    assert [pace.is_due() for _ in range(4)] == [False, True, False, True]

"""Real threads: what must happen at the same time meets at a barrier, or the test ends in an
error."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock, Thread

import pytest
import torch

from rubert_ood.classifier.batch_threads import run_batches

MEET_S = 20


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_run_batches_computes_each_on_one_thread_beside_another_and_keeps_their_order():
    met = Barrier(2)

    def forward(batch: int) -> tuple[int, int]:
        met.wait(MEET_S)
        return batch, torch.get_num_threads()

    assert run_batches(forward, [5, 3, 4, 1]) == [(5, 1), (3, 1), (4, 1), (1, 1)]
    assert torch.get_num_threads() == 2


def test_run_batches_leaves_threads_that_begin_later_what_torch_had():
    run_batches(abs, [1, 2])
    found: list[int] = []
    later = Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [2]


def test_run_batches_follows_what_torch_has():
    for count in (1, 3):
        torch.set_num_threads(count)
        met = Barrier(count)

        def forward(_: int, met: Barrier = met) -> int:
            met.wait(MEET_S)
            return torch.get_num_threads()

        assert run_batches(forward, list(range(2 * count))) == [1] * (2 * count)
        assert torch.get_num_threads() == count


def test_run_batches_takes_those_of_the_next_caller_where_one_has_none_left():
    met, first_is_in = Barrier(2), Event()

    def forward(batch: str) -> str:
        if batch == "first 1":
            first_is_in.set()
        if batch in ("first 3", "second 1"):
            met.wait(MEET_S)
        return batch

    def first() -> list[str]:
        return run_batches(forward, ["first 1", "first 2", "first 3"])

    with ThreadPoolExecutor(1) as caller:
        found = caller.submit(first)
        assert first_is_in.wait(MEET_S)
        second = run_batches(forward, ["second 1", "second 2"])
    assert found.result() == ["first 1", "first 2", "first 3"]
    assert second == ["second 1", "second 2"]


def test_run_batches_of_several_callers_runs_no_more_at_a_time_than_torch_has_threads():
    running, seen, lock = Counter[str](), Counter[int](), Lock()

    def forward(_: int) -> None:
        with lock:
            running["now"] += 1
            seen[running["now"]] += 1
        torch.randn(200, 200) @ torch.randn(200, 200)
        with lock:
            running["now"] -= 1

    def call(_: int) -> None:
        run_batches(forward, list(range(20)))

    with ThreadPoolExecutor(3) as callers:
        list(callers.map(call, range(3)))
    assert seen.total() == 60
    assert max(seen) <= 2


def test_run_batches_gives_a_single_one_all_threads_of_torch_and_one_caller_a_turn():
    computing = Lock()

    def forward(_: int) -> int:
        assert computing.acquire(blocking=False)
        torch.randn(300, 300) @ torch.randn(300, 300)
        computing.release()
        return torch.get_num_threads()

    with ThreadPoolExecutor(3) as callers:
        found = list(callers.map(lambda _: run_batches(forward, [1]), range(30)))
    assert found == [[2]] * 30


def test_run_batches_of_which_one_fails_raises_and_runs_none_that_has_not_begun():
    begun, failed = Counter[int](), Event()

    def forward(batch: int) -> None:
        begun[batch] += 1
        if batch == 0:
            failed.set()
            raise ValueError("the first")
        failed.wait(MEET_S)
        torch.randn(1000, 1000) @ torch.randn(1000, 1000)

    with pytest.raises(ValueError, match="the first"):
        run_batches(forward, list(range(500)))
    assert run_batches(abs, [-1, -2]) == [1, 2]
    assert begun.total() < 500

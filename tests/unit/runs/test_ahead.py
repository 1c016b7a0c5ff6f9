import threading

import pytest

from rubert_ood.runs.ahead import map_ahead


def test_map_ahead_gives_results_in_order_whatever_ends_first():
    second_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_done.wait(10)
        if number == 1:
            second_done.set()
        return number * number

    assert list(map_ahead(work, range(20), at_once=2)) == [n * n for n in range(20)]
    assert list(map_ahead(work, [], at_once=2)) == []


def test_map_ahead_begins_no_more_than_so_many_before_their_results_are_taken():
    begun: list[int] = []
    results = map_ahead(begun.append, range(100), at_once=4)
    for taken in range(1, 50):
        next(results)
        assert len(begun) <= taken + 4
    results.close()


def test_map_ahead_raises_what_the_function_raises_where_its_result_would_come():
    results = map_ahead(lambda number: 1 // (2 - number), range(5), at_once=3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)

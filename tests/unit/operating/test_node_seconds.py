import time

import pytest

from rubert_ood.operating.node_seconds import NodeSeconds, one_node


def test_node_seconds_of_one_node_are_the_seconds_that_passed():
    before = time.monotonic()
    with NodeSeconds(one_node, interval_s=0.01) as held:
        time.sleep(0.1)
        total = held.total
    assert 0.1 <= total <= time.monotonic() - before


def test_node_seconds_follow_a_pool_that_grows():
    before = time.monotonic()
    numbers = iter([3] * 1000)
    with NodeSeconds(lambda: next(numbers), interval_s=0.02) as held:
        time.sleep(0.4)
        total = held.total
    passed = time.monotonic() - before
    assert 3 * (0.4 - 0.1) < total < 3 * passed


def test_node_seconds_keep_the_last_number_where_the_cluster_does_not_answer():
    def fails() -> int:
        raise RuntimeError("gone")

    with NodeSeconds(fails, interval_s=0.01) as held:
        time.sleep(0.1)
        assert held.total == pytest.approx(0.1, abs=0.08)

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch

from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.span import HostMark, SharedClock, Span

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def test_span_of_the_host_is_by_its_clock():
    first = Span(HostMark(), HostMark())
    time.sleep(0.05)
    begun = HostMark()
    time.sleep(0.1)
    second = Span(begun, HostMark())
    second.ended.synchronize()
    assert 0.1 <= second.busy_s(first) < 0.1 + 5
    assert 0.05 <= second.idle_s(first) < 0.05 + 5
    assert second.idle_s(None) == 0


def test_span_has_no_time_that_the_work_before_has():
    before_begun, begun = HostMark(), HostMark()
    time.sleep(0.05)
    before = Span(before_begun, HostMark())
    time.sleep(0.02)
    span = Span(begun, HostMark())
    assert span.idle_s(before) == 0
    assert span.busy_s(None) >= 0.07
    since_before_s = before.ended.elapsed_time(span.ended) / 1000
    assert span.busy_s(before) == pytest.approx(since_before_s, abs=1e-6)
    assert Span(before_begun, begun).busy_s(span) == 0


def test_shared_clock_of_work_side_by_side_adds_up_to_the_time_in_which_any_went_on():
    """A short work begins late and ends first: what lies before it is not idle."""
    clock, begun, ended = SharedClock(), Event(), Event()
    _, first = clock.time(lambda: time.sleep(0.02))
    time.sleep(0.03)

    def long_work() -> str:
        begun.set()
        time.sleep(0.05)
        ended.wait(20)
        time.sleep(0.02)
        return "long"

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(clock.time, long_work)
        begun.wait(20)
        time.sleep(0.05)
        name, short = clock.time(lambda: "short")
        ended.set()
        other, long = future.result()
    assert (name, other) == ("short", "long")
    idle_s = short.idle_s(first) + long.idle_s(short)
    busy_s = short.busy_s(first) + long.busy_s(short)
    assert idle_s == pytest.approx(first.ended.elapsed_time(long.begun) / 1000)
    assert idle_s >= 0.03
    whole_s = first.ended.elapsed_time(long.ended) / 1000
    assert idle_s + busy_s == pytest.approx(whole_s)


def test_shared_clock_forgets_work_that_failed():
    clock = SharedClock()
    with pytest.raises(ZeroDivisionError):
        clock.time(lambda: 1 / 0)
    time.sleep(0.05)
    after = HostMark()
    _, span = clock.time(lambda: None)
    assert after.elapsed_time(span.begun) >= 0


@needs_gpu
def test_span_of_a_gpu_is_the_time_of_its_kernels_and_not_of_their_launch():
    device = choose_device(True)
    matrix = torch.randn(4096, 4096, device=device.device)
    torch.cuda.synchronize()
    begun, started = device.mark(), time.perf_counter()
    for _ in range(50):
        matrix = (matrix @ matrix).clamp(-1, 1)
    span = Span(begun, device.mark())
    launched_s = time.perf_counter() - started
    span.ended.synchronize()
    assert launched_s < span.busy_s(None) <= time.perf_counter() - started
    assert 0 <= Span(device.mark(), device.mark()).idle_s(span) < 5

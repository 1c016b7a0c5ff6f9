import time

import pytest
import torch

from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.span import HostMark, Span

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def test_span_of_the_host_is_by_its_clock():
    first = Span(HostMark(), HostMark())
    time.sleep(0.05)
    begun = HostMark()
    time.sleep(0.1)
    second = Span(begun, HostMark())
    second.ended.synchronize()
    assert 0.1 <= second.busy_s < 0.1 + 5
    assert 0.05 <= second.idle_s(first) < 0.05 + 5
    assert second.idle_s(None) == 0


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
    assert launched_s < span.busy_s <= time.perf_counter() - started
    assert 0 <= Span(device.mark(), device.mark()).idle_s(span) < 5

"""How busy the GPU is while something runs, by nvidia-smi."""

import os
import pty
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import mean
from threading import Thread

QUERY = "utilization.gpu,power.draw,clocks.sm,memory.used"
COMMAND = [
    "nvidia-smi",
    f"--query-gpu={QUERY}",
    "--format=csv,noheader,nounits",
    "--id=0",
    "--loop-ms=100",
]


@dataclass
class GpuWatch:
    """Samples of the GPU, ten a second; none where nvidia-smi is missing."""

    samples: list[tuple[float, list[float]]] = field(default_factory=list)
    """Seconds since the epoch, and the values of QUERY."""

    def between(self, begin: float, end: float) -> dict[str, float]:
        """Return means over a span of time; empty without a sample in it.

        idle_share is the share of time in which no kernel ran. It says nothing of how well the
        kernels that ran used the chip.
        """
        chosen = [values for at, values in self.samples if begin <= at <= end]
        if not chosen:
            return {}
        means = [mean(column) for column in zip(*chosen, strict=True)]
        return {
            "gpu_idle_share": 1 - means[0] / 100,
            "power_w": means[1],
            "clock_mhz": means[2],
            "memory_mb": max(values[3] for values in chosen),
        }

    def read(self, lines: Iterator[str]) -> None:
        """Take what nvidia-smi prints; a value that it does not know is 0."""
        for line in lines:
            values = [_number(cell) for cell in line.split(",")]
            if len(values) == len(QUERY.split(",")):
                self.samples.append((time.time(), values))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:  # [N/A]
        return 0.0


@contextmanager
def watched_gpu() -> Iterator[GpuWatch]:
    """Sample the GPU meanwhile."""
    watch = GpuWatch()
    ours, theirs = pty.openpty()  # into a pipe it may write by the block, and late
    try:
        process = subprocess.Popen(COMMAND, stdout=theirs)
    except OSError:
        yield watch
        return
    finally:
        os.close(theirs)
    reader = Thread(target=watch.read, args=(_lines(ours),), daemon=True)
    reader.start()
    try:
        yield watch
    finally:
        process.terminate()
        process.wait()
        reader.join(timeout=5)


def _lines(terminal: int) -> Iterator[str]:
    """Yield what is written to a terminal until its other end is closed."""
    with os.fdopen(terminal) as file:
        while True:
            try:
                line = file.readline()
            except OSError:
                return
            if not line:
                return
            yield line

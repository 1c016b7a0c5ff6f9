"""Where an ad lies among the distances of the calibration ads: the geometry of a drawing.

The axis of d2 is logarithmic, as most ads lie near their class and a few very far. Lengths are in
units of the drawing, WIDTH x HEIGHT.
"""

import math
from dataclasses import dataclass

import numpy as np

from rubert_ood.ui.flips import Outcome

WIDTH, HEIGHT = 640, 150
NUM_BINS = 40
MARGIN = 1.25
"""Factor on both ends of the axis."""


@dataclass(frozen=True)
class Bar:
    """A bin of the histogram."""

    x: float
    width: float
    height: float
    low: float
    high: float
    count: int
    is_beyond: bool
    """Whether the bin begins above the limit."""


@dataclass(frozen=True)
class Tick:
    """A number on the axis."""

    x: float
    label: str


@dataclass(frozen=True)
class Histogram:
    """A drawing."""

    bars: list[Bar]
    ticks: list[Tick]
    ad_x: float
    limit_x: float | None
    """None where d2 has no limit, since another detector decides."""
    num_ads: int
    num_as_far: int
    """Calibration ads that are at least as far as this one."""


def histogram(outcome: Outcome) -> Histogram:
    """Draw d2 of the calibration ads, of one ad, and the limit if there is one."""
    limit = outcome.d2_limit
    d2_N = outcome.thresholds.calibration_d2
    axis = _axis(outcome)
    edges = np.geomspace(axis.low, axis.high, NUM_BINS + 1)
    edges[[0, -1]] = axis.low, axis.high
    counts = np.histogram(np.clip(d2_N, axis.low, axis.high), edges)[0]
    bars, step = [], WIDTH / NUM_BINS
    for place, count in enumerate(counts.tolist()):
        low, high = float(edges[place]), float(edges[place + 1])
        height = HEIGHT * count / counts.max()
        is_beyond = limit is not None and low >= limit
        x = place * step
        bars.append(Bar(x, step, height, low, high, count, is_beyond))
    return Histogram(
        bars=bars,
        ticks=_ticks(axis),
        ad_x=axis.place(outcome.d2),
        limit_x=None if limit is None else axis.place(limit),
        num_ads=len(d2_N),
        num_as_far=int((d2_N >= outcome.d2).sum()),
    )


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float

    def place(self, d2: float) -> float:
        inside = min(max(d2, self.low), self.high)
        whole = math.log(self.high / self.low)
        return WIDTH * math.log(inside / self.low) / whole


def _axis(outcome: Outcome) -> _Axis:
    d2_N = outcome.thresholds.calibration_d2
    shown = [*d2_N[[0, -1]].tolist(), outcome.d2]
    if outcome.d2_limit is not None:
        shown.append(outcome.d2_limit)
    positive = [d2 for d2 in shown if d2 > 0] or [1.0]
    return _Axis(min(positive) / MARGIN, max(positive) * MARGIN)


def _ticks(axis: _Axis) -> list[Tick]:
    found = []
    first, last = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
    for exponent in range(first, last + 1):
        value = 10.0**exponent
        if axis.low <= value <= axis.high:
            found.append(Tick(axis.place(value), f"{value:,.10g}"))
    return found

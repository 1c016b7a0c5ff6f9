"""The figures of the reports."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from rubert_ood.ood.metrics import ReliabilityBin
from rubert_ood.reports.curves import Histograms
from rubert_ood.reports.svg import COLOURS, INK, svg

LIMIT = "#d2504b"
CURVE_HEIGHT = 3.2
NARROW = 1000
"""Largest d2 over smallest up to which the log axis has room for 1, 2, 5, 10, ...; beyond it,
powers of ten."""


def curve(
    points: Sequence[Sequence[float]], x_name: str, y_name: str, *, diagonal: bool = False
) -> str:
    """Draw one line without a legend."""
    return curves({"": points}, x_name, y_name, diagonal=diagonal)


def curves(
    lines: Mapping[str, Sequence[Sequence[float]]],
    x_name: str,
    y_name: str,
    *,
    diagonal: bool = False,
    height: float = CURVE_HEIGHT,
) -> str:
    """Draw named lines of (x, y) in the unit square."""

    def draw(axes: Axes) -> None:
        for name, points in lines.items():
            axes.plot([p[0] for p in points], [p[1] for p in points], label=name or None)
        if diagonal:
            _diagonal(axes)
        axes.set(xlabel=x_name, ylabel=y_name, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        if any(lines):
            axes.legend(loc="lower right")

    return svg(draw, width=4.0, height=height)


def risk_coverage(points: Sequence[Sequence[float]]) -> str:
    """Draw the error rate among the surest ads against their share."""

    def draw(axes: Axes) -> None:
        axes.plot([p[0] for p in points], [p[1] for p in points])
        axes.yaxis.set_major_formatter("{x:.1%}")
        axes.set(
            xlabel="coverage: share of ads that keep their label",
            ylabel="risk: share of errors among them",
        )
        axes.set(xlim=(-0.01, 1.01), ylim=(0, None))

    return svg(draw, width=4.0, height=CURVE_HEIGHT)


def reliability(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin]) -> str:
    """Draw accuracy against confidence, with and without the temperature.

    The area of a dot is its share of the ads.
    """

    def draw(axes: Axes) -> None:
        for name, bins, colour in (
            ("T = 1", before, COLOURS[1]),
            ("fitted T", after, COLOURS[0]),
        ):
            filled = [item for item in bins if item.count]
            total = sum(item.count for item in filled)
            x = np.array([item.confidence for item in filled], float)
            y = np.array([item.accuracy for item in filled], float)
            axes.plot(x, y, color=colour, linestyle="-", linewidth=0.8, alpha=0.5)
            areas = [6 + 160 * item.count / total for item in filled]
            axes.scatter(x, y, s=areas, color=colour, alpha=0.8, linewidth=0, zorder=3)
            axes.plot([], [], "o", color=colour, label=name)
        _diagonal(axes)
        axes.set(
            xlabel="confidence", ylabel="accuracy", xlim=(-0.02, 1.03), ylim=(-0.03, 1.05)
        )
        axes.legend(loc="lower right")

    return svg(draw, width=4.0, height=CURVE_HEIGHT)


def _limit(axes: Axes, limit: float) -> None:
    axes.axvline(limit, color=LIMIT, linewidth=1.2, linestyle="-")
    axes.annotate(
        f"limit {limit:,.0f}",
        (limit, 1.0),
        xytext=(4, 0),
        ha="left",
        va="top",
        color=LIMIT,
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
    )


def d2_histograms(histograms: Histograms, limit: float | None) -> str:
    """Draw one ridge per set on a shared log axis of d2, and the limit above which an ad is far.

    limit: None where d2 does not decide.
    """
    edges, sets = histograms.edges, histograms.counts

    def draw(axes: Axes) -> None:
        for row, counts in enumerate(sets.values()):
            heights = [0.85 * count / max(max(counts), 1) - row for count in counts]
            colour = COLOURS[1] if list(sets)[row].startswith("OOD: ") else COLOURS[0]
            axes.stairs(
                heights, edges, baseline=-row, fill=True, color=colour, alpha=0.75
            )
        if limit is not None:
            _limit(axes, limit)
        axes.set(
            xscale="log",
            xlabel="d2 to the nearest class (squared distance, no unit)",
            ylim=(0.1 - len(sets), 1.3),
        )
        axes.xaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if edges[-1] < NARROW * edges[0] else (1,))
        )
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks([-row for row in range(len(sets))], list(sets))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)

    return svg(draw, width=7.0, height=ridges_height(len(sets)))


def ridges_height(num_sets: int) -> float:
    """Return inches."""
    return 1.0 + 0.36 * num_sets


def confidence(counts: Sequence[int], before: Sequence[int] | None = None) -> str:
    """Draw the histogram of confidence over [0, 1], and that of the run before as a line."""

    def draw(axes: Axes) -> None:
        _two_runs(axes, [i / len(counts) for i in range(len(counts) + 1)], counts, before)
        axes.set(xlabel="confidence, from 0 to 1", xlim=(0, 1))

    return svg(draw, width=5.2, height=3.0)


def lengths(
    edges: Sequence[int], counts: Sequence[int], before: Sequence[int] | None = None
) -> str:
    """Draw the histogram of tokens per ad, one bar per bin.

    edges: lower ends of the bins, the last without end.
    """
    both = zip(counts, before or counts, strict=True)
    used = [i for i, pair in enumerate(both) if any(pair)]
    bins = slice(used[0], used[-1] + 1)
    names = [f"{edge:,}" for edge in edges[bins]]

    def draw(axes: Axes) -> None:
        _two_runs(
            axes,
            list(range(len(names) + 1)),
            counts[bins],
            before[bins] if before else None,
        )
        step = -(-len(names) // 12)
        axes.set_xticks(range(0, len(names), step), names[::step])
        axes.set(xlabel="tokens per ad, from", xlim=(0, len(names)))

    return svg(draw, width=5.2, height=3.0)


def _two_runs(
    axes: Axes,
    edges: Sequence[float],
    counts: Sequence[int],
    before: Sequence[int] | None,
) -> None:
    """Draw two histograms as shares: this run filled, the one before as a line."""
    axes.stairs(
        _shares(counts), edges, fill=True, color=COLOURS[0], alpha=0.75, label="this run"
    )
    if before:
        axes.stairs(
            _shares(before), edges, color=COLOURS[1], linewidth=1.6, label="before"
        )
        axes.legend(loc="best")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.set(ylabel="share of ads", ylim=(0, None))


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(sum(counts), 1) for count in counts]


def throughput(edges_s: Sequence[float], ads_per_s: Sequence[float]) -> str:
    """Draw the speed in each stretch of time; edges in seconds since the start."""
    unit, seconds = next(
        ((u, s) for u, s in (("hours", 3600), ("minutes", 60)) if edges_s[-1] > 3 * s),
        ("seconds", 1),
    )

    def draw(axes: Axes) -> None:
        axes.stairs(
            ads_per_s,
            [edge / seconds for edge in edges_s],
            fill=True,
            color=COLOURS[0],
            alpha=0.75,
        )
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set(
            xlabel=f"{unit} since the first shard began",
            ylabel="ads per second",
            ylim=(0, None),
        )
        axes.set_xlim(0, edges_s[-1] / seconds)

    return svg(draw, width=5.2, height=3.0)


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")

"""Figures as SVG that read on white and on black paper: no background, mid-tone ink."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#8a8f98"
COLOURS = ("#3b82c4", "#e08a2e", "#4aa564", "#c94f6d", "#8a6fc9", "#2fa3a3", "#b39b2e", "#d06fb4", "#7d8b99", "#a0623d")
STYLE: Any = {  # matplotlib's stubs want every key as a literal
    "svg.fonttype": "none",
    "svg.hashsalt": "rubert_ood",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "lines.linewidth": 1.6,
}


def _svg(draw: Callable[[Axes], None], *, width: float = 5.2, height: float = 3.4) -> str:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_prop_cycle(color=COLOURS)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()


def curve(points: Sequence[Sequence[float]], x_name: str, y_name: str, *, diagonal: bool = False) -> str:
    return curves({"": points}, x_name, y_name, diagonal=diagonal)


def curves(lines: Mapping[str, Sequence[Sequence[float]]], x_name: str, y_name: str, *, diagonal: bool = False) -> str:
    """Draw named lines of (x, y) in the unit square."""

    def draw(axes: Axes) -> None:
        for name, points in lines.items():
            axes.plot([p[0] for p in points], [p[1] for p in points], label=name or None)
        if diagonal:
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        axes.set(xlabel=x_name, ylabel=y_name, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        if any(lines):
            axes.legend(loc="lower right")

    return _svg(draw)


def reliability(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> str:
    """Draw accuracy against confidence, with and without the temperature."""
    lines = {
        name: [(item["confidence"], item["accuracy"]) for item in bins if item["count"]]
        for name, bins in (("T = 1", before), ("fitted T", after))
    }

    def draw(axes: Axes) -> None:
        for (name, points), mark in zip(lines.items(), "os", strict=True):
            axes.plot([p[0] for p in points], [p[1] for p in points], marker=mark, markersize=4, label=name)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.01), ylim=(0, 1.02))
        axes.legend(loc="upper left")

    return _svg(draw)


def d2_histograms(histograms: Mapping[str, Any], limit: float) -> str:
    """Draw the density of d2 of each set on a log axis, with the distance above which an ad may be flagged."""

    def draw(axes: Axes) -> None:
        for name, counts in histograms["counts"].items():
            total = max(sum(counts), 1)
            dashed = "--" if name.startswith("OOD") else "-"
            axes.stairs([c / total for c in counts], histograms["edges"], label=name, linestyle=dashed, linewidth=1.4)
        axes.axvline(limit, color="#c94f4f", linewidth=1.2)
        axes.annotate("alpha x threshold", (limit, 0.97), xycoords=("data", "axes fraction"), ha="left", va="top",
                      xytext=(4, 0), textcoords="offset points", color="#c94f4f")  # fmt: skip
        axes.set(xscale="log", xlabel="d2 to the nearest class", ylabel="share of the set")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return _svg(draw, width=9.0, height=3.8)


def confidence(counts: Sequence[int]) -> str:
    """Draw the histogram of confidence over [0, 1]."""

    def draw(axes: Axes) -> None:
        edges = [i / len(counts) for i in range(len(counts) + 1)]
        axes.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.75)
        axes.set(xlabel="confidence", ylabel="ads", xlim=(0, 1))

    return _svg(draw)


def throughput(seconds: Sequence[float], rows: Sequence[int]) -> str:
    """Draw finished ads against time; the slope is the speed."""

    def draw(axes: Axes) -> None:
        axes.step([0, *seconds], [0, *rows], where="post")
        axes.set(xlabel="seconds since the first shard ended", ylabel="ads finished")

    return _svg(draw)

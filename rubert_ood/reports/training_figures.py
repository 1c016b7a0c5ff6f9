"""The figures of a training: what was measured in each epoch of each run."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from rubert_ood.reports.evaluation import TrainingRun
from rubert_ood.reports.svg import COLOURS, svg

WIDTH, HEIGHT = 4.0, 2.8
CHOSEN_SIZE = 9


@dataclass(frozen=True)
class Measure:
    """What one figure shows: a number of the history, or two of a kind."""

    title: str
    """What the axis says."""
    keys: tuple[str, ...]
    """The first as a line, the second dashed."""
    caption: str


MEASURES = (
    Measure(
        "loss, nats per ad",
        ("train_loss", "valid_loss"),
        "Loss of train (line), with dropout, and of valid (dashed). Smaller is better.",
    ),
    Measure(
        "macro-F1 on valid",
        ("valid_macro_f1",),
        "It chooses the epoch. Larger is better.",
    ),
    Measure(
        "learning rate",
        ("learning_rate",),
        "That of head and top layer, the mean over the epoch.",
    ),
    Measure(
        "gradient norm",
        ("grad_norm",),
        "The mean over the steps of the epoch, before each is clipped.",
    ),
    Measure(
        "tokens per second",
        ("train_tokens_per_s",),
        "The sum of all workers, without padding. Larger is better.",
    ),
)


def shown_measures(runs: Sequence[TrainingRun]) -> list[Measure]:
    """Return what these runs know: those of earlier versions noted less."""
    return [
        measure
        for measure in MEASURES
        if all(_points(run, measure.keys[0]) for run in runs)
    ]


def training_figure(runs: Sequence[TrainingRun], measure: Measure) -> str:
    """Draw a measure over the epochs, a colour for each seed, a ring where a run was kept."""

    def draw(axes: Axes) -> None:
        for number, run in enumerate(runs):
            colour = COLOURS[number % len(COLOURS)]
            for key, style in zip(measure.keys, ("-", "--"), strict=False):
                points = _points(run, key)
                axes.plot(*_columns(points), style, color=colour, marker=".")
            label = f"seed {run.seed}"
            kept = [point for point in points if point[0] == run.best_epoch]
            axes.plot(
                *_columns(kept),
                "o",
                color=colour,
                markersize=CHOSEN_SIZE,
                fillstyle="none",
                label=label,
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.set(xlabel="epoch", ylabel=measure.title)
        if len(runs) > 1:
            axes.legend(loc="best")

    return svg(draw, width=WIDTH, height=HEIGHT)


def _points(run: TrainingRun, key: str) -> list[tuple[float, float]]:
    return [(epoch["epoch"], epoch[key]) for epoch in run.history if key in epoch]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]

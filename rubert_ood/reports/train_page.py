"""The page of a training: how it went, epoch by epoch and seed by seed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rubert_ood.reports.evaluation import Context, TrainingRun
from rubert_ood.reports.html import render
from rubert_ood.reports.training_figures import shown_measures, training_figure

PAGE = "train.html"


@dataclass(frozen=True)
class Spread:
    """A score on valid over the runs, each at the epoch that was kept."""

    mean: float
    deviation: float
    """Of single runs, ddof 1; 0 for one run."""
    lowest: float
    highest: float

    @classmethod
    def of(cls, runs: Sequence[TrainingRun], key: str) -> "Spread":
        """Sum up one score."""
        scores = [float(run.best[key]) for run in runs]
        deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
        return cls(statistics.fmean(scores), deviation, min(scores), max(scores))


def train_html(context: Context) -> str:
    """Render the training that a bundle comes from."""
    runs = context.runs or []
    measures = shown_measures(runs)
    return render(
        "train.html.j2",
        context=context,
        runs=runs,
        kept=kept_run(runs, context),
        macro_f1=Spread.of(runs, "valid_macro_f1"),
        accuracy=Spread.of(runs, "valid_accuracy"),
        figures=[(measure, training_figure(runs, measure)) for measure in measures],
    )


def kept_run(runs: Sequence[TrainingRun], context: Context) -> TrainingRun:
    """Return the run that the bundle holds."""
    return next(run for run in runs if run.seed == context.seed)

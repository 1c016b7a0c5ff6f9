"""The page of a training: how it went, epoch by epoch and seed by seed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rubert_ood.plain import count_of
from rubert_ood.reports import good
from rubert_ood.reports.evaluation import Context, Finding, TrainingRun
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
        findings=train_findings(runs, kept_run(runs, context), context.num_classes),
        figures=[(measure, training_figure(runs, measure)) for measure in measures],
    )


def kept_run(runs: Sequence[TrainingRun], context: Context) -> TrainingRun:
    """Return the run that the bundle holds."""
    return next(run for run in runs if run.seed == context.seed)


def train_findings(
    runs: Sequence[TrainingRun], kept: TrainingRun, num_classes: int | None
) -> list[Finding]:
    """Say whether the training ended where it should, and how much the seed decides.

    num_classes: None where an earlier version did not note it.
    """
    findings = [_end(kept), _fit(kept)]
    if num_classes and float(kept.best["valid_macro_f1"]) <= 1 / num_classes:
        findings.insert(0, _nothing_learned(kept, num_classes))
    if len(runs) > 1:
        findings.append(_seeds(Spread.of(runs, "valid_macro_f1"), len(runs)))
    return findings


def _nothing_learned(kept: TrainingRun, num_classes: int) -> Finding:
    """Say so of a macro-F1 that one class for every ad can have: the other classes have F1 of 0."""
    text = (
        f"The network has learned nothing: macro-F1 is {kept.best['valid_macro_f1']:.2%}"
        f" on valid, and one class for every ad makes up to {1 / num_classes:.2%}. Raise"
        " optimiser.num_epochs or optimiser.learning_rate."
    )
    return Finding(False, text)


def _end(kept: TrainingRun) -> Finding:
    last = len(kept.history)
    if kept.best_epoch < last:
        after = count_of(last - kept.best_epoch, "epoch")
        return Finding(True, f"Macro-F1 on valid did not improve in {after} after it.")
    text = "The last epoch was the best, so more epochs may help."
    return Finding(last == 1, text if last > 1 else "The training had one epoch.")


def _fit(kept: TrainingRun) -> Finding:
    losses = [float(epoch["valid_loss"]) for epoch in kept.history]
    best = float(kept.best["valid_loss"])
    rise = best / max(min(losses), 1e-9) - 1
    text = (
        f"The valid loss of the kept epoch is {best:.4f} nats, {rise:.0%} above the"
        f" smallest ({good.LOSS_RISE})."
    )
    return Finding(good.LOSS_RISE.holds(rise), text)


def _seeds(spread: Spread, number: int) -> Finding:
    text = (
        f"The macro-F1 of {number} seeds differs by {spread.deviation:.2%} (standard"
        f" deviation, {good.SEED_SPREAD})."
    )
    return Finding(good.SEED_SPREAD.holds(spread.deviation), text)

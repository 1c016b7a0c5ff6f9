"""The numbers at the top of the evaluation report, each with what is good of it."""

from dataclasses import dataclass

from rubert_ood.ood.detectors import TITLES
from rubert_ood.reports import good
from rubert_ood.reports.evaluation import Evaluation, Headline
from rubert_ood.reports.verdict import good_ood_rate


@dataclass(frozen=True)
class Fact:
    """One number of a page, as text with its unit."""

    name: str
    value: str
    note: str = ""
    good: str = ""
    """What is good of it, in words; "" where no side is better."""
    ok: bool | None = None
    """Whether it is good; None where nothing says so."""


def evaluation_facts(evaluation: Evaluation) -> list[Fact]:
    """Return the numbers of the headline."""
    headline = evaluation.headline
    return [
        *_scores(evaluation),
        *_calibration(headline),
        *_rates(evaluation),
        *_distances(evaluation),
    ]


def _scores(evaluation: Evaluation) -> list[Fact]:
    headline, baseline = evaluation.headline, evaluation.baseline
    of_all = "of the test ads"
    if baseline is None:
        better = "larger is better"
        return [
            Fact("Accuracy", f"{headline.accuracy:.2%}", of_all, better),
            Fact("Macro-F1", f"{headline.macro_f1:.2%}", "mean over classes", better),
        ]
    accuracy, macro_f1 = baseline.accuracy, baseline.macro_f1
    return [
        Fact(
            "Accuracy",
            f"{headline.accuracy:.2%}",
            of_all,
            f"good: at least {accuracy:.2%}, the baseline",
            headline.accuracy >= accuracy,
        ),
        Fact(
            "Macro-F1",
            f"{headline.macro_f1:.2%}",
            "mean over classes",
            f"good: at least {macro_f1:.2%}, the baseline",
            headline.macro_f1 >= macro_f1,
        ),
    ]


def _calibration(headline: Headline) -> list[Fact]:
    before = f"before T {headline.ece_before:.4f}"
    if headline.ece_by_chance is not None:
        before += f", by chance {headline.ece_by_chance:.4f}"
    ece_is_good = good.ECE.holds(headline.ece_after)
    return [
        Fact(
            "ECE after T", f"{headline.ece_after:.4f}", before, str(good.ECE), ece_is_good
        ),
        Fact(
            "NLL after T",
            f"{headline.nll_after:.4f} nats",
            f"per ad, before T {headline.nll_before:.4f}",
            "smaller is better",
        ),
        Fact(
            "Temperature T",
            f"{headline.temperature:.3f}",
            "above 1 softens confidence",
            "good: inside its bounds",
            not headline.at_bound,
        ),
    ]


def _rates(evaluation: Evaluation) -> list[Fact]:
    headline, limit = evaluation.headline, good_ood_rate(evaluation.decision)
    return [
        Fact(
            "Flagged OOD",
            f"{headline.ood_rate:.2%}",
            f"of the test ads, false alarms. {headline.far_rate:.2%} lie far",
            str(limit),
            limit.holds(headline.ood_rate),
        ),
        Fact(
            "Labelled Other",
            f"{headline.other_rate:.2%}",
            "of the test ads",
            str(good.OTHER_RATE),
            good.OTHER_RATE.holds(headline.other_rate),
        ),
    ]


def _distances(evaluation: Evaluation) -> list[Fact]:
    """Return what describes d2, a squared distance without a unit: no side is good."""
    headline = evaluation.headline
    split = headline.calibrated_on
    limit = f"p of {TITLES[evaluation.decision.detector]} decides, not d2"
    if evaluation.d2_limit is not None:
        limit = f"an ad is far above {evaluation.d2_limit:,.1f}"
        if evaluation.class_limits:
            limit = "each class has a limit for far"
    facts = [
        Fact("d2 threshold", f"{headline.threshold:,.1f}", limit),
        Fact(
            "Mean d2 of " + split,
            f"{headline.mu:,.1f}",
            f"μ, with σ {headline.sigma:,.1f}",
        ),
    ]
    own_class = headline.mean_d2_own_class
    for name, value in headline.mean_d2.items():
        if name == split:
            continue
        note = "to the nearest class"
        if name == "train" and own_class is not None:
            note += f", {own_class:,.1f} to the own class"
        facts.append(Fact(f"Mean d2 of {name}", f"{value:,.1f}", note))
    return facts

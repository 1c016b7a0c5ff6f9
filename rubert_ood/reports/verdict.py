"""The first lines of the evaluation report: can this model be trusted, and where not."""

from collections.abc import Sequence

from rubert_ood.ood.comparison import DetectorResult
from rubert_ood.ood.metrics import ClassMetrics, OodMetrics
from rubert_ood.reports.evaluation import Evaluation, Finding, HardCase, Headline, OodKind
from rubert_ood.settings import DecisionSettings
from rubert_ood.training.baseline import Baseline
from rubert_ood.training.stack import StackReport

GOOD_ECE = 0.05
GOOD_OOD_RATE = 0.01
"""In-domain ads flagged as OOD."""
GOOD_KEPT_OUT = 0.5
"""Share of OOD texts that end as Other."""
WEAK_F1 = 0.8
GOOD_HARD_CASES = 0.8
GOOD_FAR_RATE = 1.5
"""Ads called far over those that the conformal rule was asked for."""
GOOD_CONFORMAL_OOD_RATE = 0.05
"""In-domain ads flagged as OOD by a rule whose alpha somebody chose."""
GOOD_OTHER_RATE = 0.1
"""In-domain ads that get no class."""
FEW_ADS = 100
"""Fewer test or calibration ads tell little, whatever they say."""
NAMED_CLASSES = 5
LEFT_OUT = "classes left out"
BETTER_AUROC = 0.05
"""Lead of another detector that is worth telling."""


def verdict(evaluation: Evaluation) -> list[Finding]:
    """Judge the numbers alone."""
    headline = evaluation.headline
    findings = [
        _accuracy(headline, evaluation.baseline),
        _calibration(headline),
        _calibration_rows(headline),
        _false_alarms(headline, evaluation.decision),
        _classes(evaluation.per_class),
    ]
    if evaluation.stack and evaluation.stack.is_kept:
        findings.insert(1, _words(evaluation.stack))
    if evaluation.ood_kinds:
        findings.append(_ood_texts(evaluation.ood_kinds))
    if evaluation.detectors and measured_kinds(evaluation.detectors[0]):
        findings.append(_better_detectors(evaluation.detectors))
    if evaluation.hard_cases:
        findings.append(_hard_cases(evaluation.hard_cases))
    return findings


def _accuracy(headline: Headline, baseline: Baseline | None) -> Finding:
    text = (
        f"Accuracy {headline.accuracy:.1%}, macro-F1 {headline.macro_f1:.1%}"
        f" on {headline.num_test:,} test ads"
    )
    if headline.num_test < FEW_ADS:
        return Finding(False, f"{text}: too few to tell.")
    if baseline is None:
        return Finding(True, f"{text}.")
    ahead = headline.accuracy - baseline.accuracy
    side = "above" if ahead >= 0 else "below"
    points = f"{abs(ahead) * 100:.1f} points"
    sample = ""
    if baseline.num_train is not None:
        sample = f", trained on a sample of {baseline.num_train:,} ads"
    text = (
        f"{text}: {points} {side} TF-IDF + LinearSVC ({baseline.accuracy:.1%}{sample})."
    )
    return Finding(ahead >= 0, text)


def _words(stack: StackReport) -> Finding:
    accuracy, macro_f1 = stack.test.gains
    before = stack.test.network
    text = (
        f"Words are mixed with the network: {accuracy * 100:+.1f} points of accuracy and"
        f" {macro_f1 * 100:+.1f} points of macro-F1 on the test ads, where the network alone has"
        f" {before.accuracy:.1%} and {before.macro_f1:.1%}."
    )
    return Finding(accuracy + macro_f1 > 0, text)


def _calibration(headline: Headline) -> Finding:
    before = f"{headline.ece_before:.1%} before T"
    if headline.ece_by_chance is not None:
        before += f", {headline.ece_by_chance:.1%} by chance on so many ads"
    text = f"Confidence is off by {headline.ece_after:.1%} on average (ECE; {before})"
    if headline.at_bound:
        text += f"; T = {headline.temperature:g} ended at its bound: confidence cannot be trusted."
        return Finding(False, text)
    return Finding(
        headline.ece_after <= GOOD_ECE, f"{text}; T = {headline.temperature:.3f}."
    )


def _calibration_rows(headline: Headline) -> Finding:
    count = f"{headline.num_calibration:,}"
    if headline.calibrated_on == "valid":
        text = (
            f"T and the thresholds rest on the {count} valid ads, which also chose the checkpoint:"
            " they look better than new ads will, so more of these are flagged. Set"
            " split.calibration_fraction, or give calibration_uri."
        )
        return Finding(False, text)
    text = f"T and the thresholds rest on {count} ads that neither trained nor chose the checkpoint"
    if headline.num_calibration < FEW_ADS:
        return Finding(False, f"{text}: too few, give some hundred.")
    return Finding(True, f"{text}.")


def _false_alarms(headline: Headline, decision: DecisionSettings) -> Finding:
    text = (
        f"Of the in-domain test ads {headline.far_rate:.2%} lie far by the {decision.rule} rule,"
        f" and {headline.ood_rate:.2%} are flagged OOD, since they are not confident either;"
        f" {headline.other_rate:.2%} end as Other."
    )
    few_other = headline.other_rate <= GOOD_OTHER_RATE
    if decision.rule != "conformal":
        return Finding(headline.ood_rate <= GOOD_OOD_RATE and few_other, text)
    alpha = decision.conformal_alpha
    few_far = headline.far_rate <= GOOD_FAR_RATE * alpha
    few_ood = headline.ood_rate <= GOOD_CONFORMAL_OOD_RATE
    text += f" The rule was asked for {alpha:.2%} far."
    return Finding(few_far and few_ood and few_other, text)


def _classes(rows: Sequence[ClassMetrics]) -> Finding:
    measured = [row for row in rows if row.support]
    weak = [row for row in measured if row.f1 < WEAK_F1]
    weak.sort(key=lambda row: row.f1)
    unknown = ""
    if len(measured) < len(rows):
        unknown = f" {len(rows) - len(measured)} class(es) have no test ad."
    if not weak:
        text = f"Every class that was measured has F1 of at least {WEAK_F1:g}.{unknown}"
        return Finding(not unknown, text)
    names = ", ".join(f"{row.label} ({row.f1:.2f})" for row in weak[:NAMED_CLASSES])
    more = f" and {len(weak) - NAMED_CLASSES} more" if len(weak) > NAMED_CLASSES else ""
    text = f"{len(weak)} class(es) have F1 below {WEAK_F1:g}: {names}{more}.{unknown}"
    return Finding(False, text)


def _ood_texts(kinds: Sequence[OodKind]) -> Finding:
    missed = [kind for kind in kinds if kind.caught < GOOD_KEPT_OUT]
    if not missed:
        text = (
            f"At least {GOOD_KEPT_OUT:.0%} of every OOD kind is kept out of the classes."
        )
        return Finding(True, text)
    names = ", ".join(f"{kind.kind} ({kind.caught:.0%})" for kind in missed)
    text = (
        "Most texts of these OOD kinds get an ordinary label (share that ends as Other)"
    )
    return Finding(False, f"{text}: {names}.")


def _better_detectors(detectors: Sequence[DetectorResult]) -> Finding:
    """Name the kinds that another detector keeps apart clearly better than the one that decides."""
    ours, *others = detectors
    better = []
    for kind, metrics in measured_kinds(ours).items():
        aurocs = {other.detector: measured_kinds(other)[kind].auroc for other in others}
        name = max(aurocs, key=lambda name: aurocs[name])
        if aurocs[name] >= metrics.auroc + BETTER_AUROC:
            better.append(
                f"{kind} ({name} {aurocs[name]:.2f} against {metrics.auroc:.2f})"
            )
    if better:
        text = (
            f"Other detectors tell these kinds apart better (AUROC): {', '.join(better)}."
        )
        return Finding(False, text)
    text = f"No other detector is clearly better than {ours.detector}, which decides."
    return Finding(True, text)


def measured_kinds(result: DetectorResult) -> dict[str, OodMetrics]:
    """Return what a detector was measured on, by kind; classes left out are a kind as well."""
    kinds: dict[str, OodMetrics] = dict(result.kinds)
    if result.left_out:
        kinds[LEFT_OUT] = result.left_out
    return kinds


def _hard_cases(cases: Sequence[HardCase]) -> Finding:
    right = sum(case.ok for case in cases)
    text = f"{right} of {len(cases)} hard cases are right."
    return Finding(right >= GOOD_HARD_CASES * len(cases), text)

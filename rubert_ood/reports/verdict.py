"""The first lines of the evaluation report: can this model be trusted, and where not."""

from collections.abc import Sequence
from dataclasses import dataclass

from rubert_ood.ood.comparison import DetectorResult
from rubert_ood.ood.detectors import TITLES
from rubert_ood.ood.metrics import ClassMetrics, OodMetrics
from rubert_ood.ood.recommend import Recommendation, recommend
from rubert_ood.plain import count_of
from rubert_ood.reports import good
from rubert_ood.reports.evaluation import Evaluation, Finding, HardCase, Headline, OodKind
from rubert_ood.reports.mend import EVALUATION, Mend, let_decide
from rubert_ood.settings import DecisionSettings, DetectorName
from rubert_ood.training.baseline import Baseline
from rubert_ood.training.stack import StackReport

NAMED_CLASSES = 5
LEFT_OUT = "classes left out"
ORDER = (
    "accuracy",
    "words",
    "calibration",
    "calibration_rows",
    "false_alarms",
    "classes",
    "ood_texts",
    "detectors",
    "hard_cases",
)
"""Of the findings, by what they are about."""


def verdict(evaluation: Evaluation) -> list[Finding]:
    """Judge the numbers alone."""
    headline = evaluation.headline
    found = {
        "accuracy": _accuracy(headline, evaluation.baseline),
        "calibration": _calibration(headline),
        "calibration_rows": _calibration_rows(headline),
        "false_alarms": _false_alarms(headline, evaluation.decision),
        "classes": _classes(evaluation.per_class),
    }
    if evaluation.stack and evaluation.stack.is_kept:
        found["words"] = _words(evaluation.stack)
    if evaluation.ood_kinds:
        found["ood_texts"] = _ood_texts(evaluation.ood_kinds)
    if evaluation.detectors and measured_kinds(evaluation.detectors[0]):
        found["detectors"] = _detectors(evaluation)
    if evaluation.hard_cases:
        found["hard_cases"] = _hard_cases(evaluation.hard_cases)
    mends = _mends(evaluation)
    return [found[name].mended_by(mends[name]) for name in ORDER if name in found]


def _mends(evaluation: Evaluation) -> dict[str, Mend]:
    """Return what to do about each finding, where the numbers ask for something else than usual."""
    headline, mends = evaluation.headline, dict(EVALUATION)
    if evaluation.stack:  # words were tried
        mends["accuracy"] = mends["more_ads"]
    if not good.TEST_ADS.holds(headline.num_test):
        mends["accuracy"] = mends["test_ads"]
    if headline.at_bound:
        mends["calibration"] = mends["at_bound"]
    best = evaluation.recommended
    better = _better_detectors(evaluation)
    if best and best.detector != evaluation.decision.detector:
        mends["detectors"] = let_decide(best.detector)
    elif better:
        # on all kinds together none is better than the one that decides
        leader = max(better, key=lambda one: one.auroc - one.ours)
        only_if = f" if {leader.kind} matters most"
        mends["detectors"] = let_decide(leader.detector, only_if)
    return mends


def _accuracy(headline: Headline, baseline: Baseline | None) -> Finding:
    text = (
        f"Accuracy is {headline.accuracy:.1%} and macro-F1 {headline.macro_f1:.1%}"
        f" on {count_of(headline.num_test, 'test ad')}."
    )
    if not good.TEST_ADS.holds(headline.num_test):
        return Finding(False, f"{text} So few tell little ({good.TEST_ADS}).")
    if baseline is None:
        return Finding(True, text)
    ahead = headline.accuracy - baseline.accuracy
    side = "above" if ahead >= 0 else "below"
    points = f"{abs(ahead) * 100:.1f} points"
    sample = ""
    if baseline.num_train is not None:
        sample = f", trained on a sample of {count_of(baseline.num_train, 'ad')}"
    name = f"TF-IDF + LinearSVC ({baseline.accuracy:.1%}{sample})"
    return Finding(ahead >= 0, f"{text} That is {points} {side} {name}.")


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
    off = f"Confidence is off by {headline.ece_after:.1%} on average"
    before = (
        f"It was off by {headline.ece_before:.1%} before T = {headline.temperature:.3g}."
    )
    text = f"{off} (ECE {headline.ece_after:.3f}, {good.ECE}). {before}"
    if headline.ece_by_chance is not None:
        text += f" Chance alone makes {headline.ece_by_chance:.1%} on so many ads."
    if headline.at_bound:
        text += " T ended at its bound, so do not trust confidence."
    return Finding(good.ECE.holds(headline.ece_after) and not headline.at_bound, text)


def _calibration_rows(headline: Headline) -> Finding:
    count = headline.num_calibration
    if headline.calibrated_on == "valid":
        text = (
            f"T and the thresholds rest on {count_of(count, 'valid ad')}, which also chose"
            " the checkpoint. They look better than new ads will, so more of these get"
            " flagged."
        )
        return Finding(False, text)
    text = (
        f"T and the thresholds rest on {count_of(count, 'ad')} that neither trained nor"
        " chose the checkpoint."
    )
    if not good.CALIBRATION_ADS.holds(count):
        return Finding(False, f"{text} Add more of them ({good.CALIBRATION_ADS}).")
    return Finding(True, text)


def _false_alarms(headline: Headline, decision: DecisionSettings) -> Finding:
    limit = good_ood_rate(decision)
    text = (
        f"The {decision.rule} rule calls {headline.far_rate:.2%} of the test ads far."
        f" {headline.ood_rate:.2%} are flagged OOD, being unsure as well ({limit})."
        f" {headline.other_rate:.2%} end as Other ({good.OTHER_RATE})."
    )
    ok = limit.holds(headline.ood_rate) and good.OTHER_RATE.holds(headline.other_rate)
    if decision.rule != "conformal":
        return Finding(ok, text)
    alpha = decision.conformal_alpha
    text += f" The rule was asked for {alpha:.2%} far."
    return Finding(ok and headline.far_rate <= good.FAR_FACTOR * alpha, text)


def good_ood_rate(decision: DecisionSettings) -> good.Good:
    """Return what is good of the in-domain ads that a rule flags."""
    is_chosen = decision.rule == "conformal"
    return good.CONFORMAL_OOD_RATE if is_chosen else good.OOD_RATE


def _classes(rows: Sequence[ClassMetrics]) -> Finding:
    measured = [row for row in rows if row.support]
    weak = [row for row in measured if not good.CLASS_F1.holds(row.f1)]
    weak.sort(key=lambda row: row.f1)
    bound = f"{good.CLASS_F1.bound:g}"
    unknown = ""
    if len(measured) < len(rows):
        without = len(rows) - len(measured)
        verb = "has" if without == 1 else "have"
        unknown = f" {count_of(without, 'class', 'classes')} {verb} no test ad."
    if not weak:
        text = f"Every class that was measured has F1 of at least {bound}.{unknown}"
        return Finding(not unknown, text)
    names = ", ".join(f"{row.label} ({row.f1:.2f})" for row in weak[:NAMED_CLASSES])
    more = f" and {len(weak) - NAMED_CLASSES} more" if len(weak) > NAMED_CLASSES else ""
    verb = "has" if len(weak) == 1 else "have"
    number = count_of(len(weak), "class", "classes")
    return Finding(False, f"{number} {verb} F1 below {bound}: {names}{more}.{unknown}")


def _ood_texts(kinds: Sequence[OodKind]) -> Finding:
    bound = f"{good.KEPT_OUT.bound:.0%}"
    missed = [kind for kind in kinds if not good.KEPT_OUT.holds(kind.caught)]
    if not missed:
        return Finding(True, f"At least {bound} of every OOD kind ends as Other.")
    names = ", ".join(f"{kind.kind} ({kind.caught:.0%})" for kind in missed)
    return Finding(False, f"Less than {bound} of these OOD kinds ends as Other: {names}.")


def recommended_detector(
    detectors: Sequence[DetectorResult], decision: DecisionSettings
) -> Recommendation | None:
    """Return the detector to decide with, by AUROC; None where nothing was measured."""
    aurocs = {}
    for result in detectors:
        kinds = measured_kinds(result)
        aurocs[result.detector] = {kind: kinds[kind].auroc for kind in kinds}
    return recommend(aurocs, decision.detector) if aurocs else None


@dataclass(frozen=True)
class _Better:
    """A kind that another detector keeps apart clearly better than the one that decides."""

    kind: str
    detector: DetectorName
    auroc: float
    ours: float
    """AUROC of the one that decides."""

    @property
    def in_words(self) -> str:
        title = TITLES[self.detector]
        return f"{self.kind} ({title} {self.auroc:.2f} against {self.ours:.2f})"


def _better_detectors(evaluation: Evaluation) -> list[_Better]:
    """Return the best other detector of each kind where it leads."""
    kinds_of = {found.detector: measured_kinds(found) for found in evaluation.detectors}
    now = TITLES[evaluation.decision.detector]
    ours = kinds_of.pop(now, {})
    names = {title: name for name, title in TITLES.items()}
    better = []
    for kind, metrics in ours.items():
        aurocs = {title: kinds[kind].auroc for title, kinds in kinds_of.items()}
        title = max(aurocs, key=lambda title: aurocs[title])
        if aurocs[title] >= metrics.auroc + good.AUROC_LEAD:
            better.append(_Better(kind, names[title], aurocs[title], metrics.auroc))
    return better


def _detectors(evaluation: Evaluation) -> Finding:
    better = _better_detectors(evaluation)
    lead = f"AUROC higher by {good.AUROC_LEAD:g} or more"
    if better:
        kinds = ", ".join(one.in_words for one in better)
        text = f"Other detectors tell these kinds apart better, with {lead}: {kinds}."
        return Finding(False, text)
    title = TITLES[evaluation.decision.detector]
    return Finding(
        True, f"{title} decides, and no other detector has {lead} on any kind."
    )


def measured_kinds(result: DetectorResult) -> dict[str, OodMetrics]:
    """Return what a detector was measured on, by kind; classes left out are a kind as well."""
    kinds: dict[str, OodMetrics] = dict(result.kinds)
    if result.left_out:
        kinds[LEFT_OUT] = result.left_out
    return kinds


def _hard_cases(cases: Sequence[HardCase]) -> Finding:
    right = sum(case.ok for case in cases)
    verb = "is" if right == 1 else "are"
    text = f"{right} of {count_of(len(cases), 'hard case')} {verb} right ({good.HARD_CASES})."
    return Finding(good.HARD_CASES.holds(right / len(cases)), text)

"""A decision in plain words: the questions that the rule asks, and which one decided."""

from dataclasses import dataclass

from rubert_ood.ood.decision import OTHER
from rubert_ood.ood.detectors import TITLES
from rubert_ood.ui.flips import Outcome


@dataclass(frozen=True)
class Step:
    """A question that the rule asks of an ad."""

    question: str
    answer: bool
    fact: str
    """The numbers that were compared."""
    decides: bool = False


def steps(outcome: Outcome) -> list[Step]:
    """Return the questions that were asked, the last of which decided."""
    gate, tau = outcome.settings.ood_conf_gate, outcome.settings.tau_other
    confidence = f"confidence {outcome.confidence:.2%}"
    is_below = outcome.confidence < gate
    found = [Step("Is it far from every class?", outcome.is_far, _distance(outcome))]
    if outcome.is_far:
        against = f"{confidence} {_sign(is_below)} confidence gate {gate:.2%}"
        question = "Is the model unsure?"
        found.append(Step(question, is_below, against, decides=outcome.is_ood))
    if not outcome.is_ood:
        is_enough = outcome.confidence >= tau
        sign = "≥" if is_enough else "<"
        against = f"{confidence} {sign} tau_other {tau:.2%}"
        question = "Is it sure enough for a label?"
        found.append(Step(question, is_enough, against, decides=True))
    return found


def kind(outcome: Outcome) -> str:
    """Return `ood`, `unsure` or `class`: what sort of answer it is."""
    if outcome.is_ood:
        return "ood"
    return "unsure" if outcome.label == OTHER else "class"


def sentence(outcome: Outcome) -> str:
    """Say in one sentence why the label is what it is."""
    sure = f"{outcome.confidence:.1%}"
    if outcome.is_ood:
        return (
            f"The text is unlike every class, and the model is only {sure} sure of its"
            f" best one, {outcome.best}: it is out of domain."
        )
    if outcome.label == OTHER:
        return (
            f"The model is only {sure} sure of its best class, {outcome.best}:"
            " that is too little for a label."
        )
    if outcome.is_far:
        what = "that" if outcome.d2_limit is None else "the distance"
        return (
            f"The text is unlike every class, but the model is {sure} sure,"
            f" which outweighs {what}."
        )
    return (
        f"The model is {sure} sure, and the text is near enough to the ads that it was"
        " trained on."
    )


def _distance(outcome: Outcome) -> str:
    settings, thresholds = outcome.settings, outcome.thresholds
    if settings.rule == "conformal":
        sign = "≤" if outcome.is_far else ">"
        named = "" if outcome.d2_limit is not None else f" of {TITLES[settings.detector]}"
        name = "conformal_alpha" if thresholds.by_class is None else "limit of the class"
        return f"p{named} {outcome.p:.4f} {sign} {name} {outcome.p_limit:g}"
    limit = settings.alpha * thresholds.threshold
    far = (
        f"d2 {outcome.d2:,.1f} {_sign(outcome.d2 <= limit, '≤')} alpha"
        f" {settings.alpha:g} × threshold {thresholds.threshold:,.1f} = {limit:,.1f}"
    )
    is_small = outcome.z <= settings.z_thr
    return f"{far}; z {outcome.z:.2f} {_sign(is_small, '≤')} z_thr {settings.z_thr:g}"


def _sign(is_less: bool, less: str = "<") -> str:
    if is_less:
        return less
    return ">" if less == "≤" else "≥"

"""What a tuning reached: tuning.json, and the words of the report and of the log."""

from collections.abc import Mapping, Sequence

from pydantic import ConfigDict, Field

from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.promise import Promise
from rubert_ood.ood.tuning import Measures
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.runs.record import Record
from rubert_ood.settings import DecisionSettings, GateSettings
from rubert_ood.settings.promises import PromiseSettings

log = StepLog("tune")
promise_log = StepLog("promise")

FORMAT = 1
"""Of tuning.json. Files of 0.3.0 have no number, and `foreign_kept` instead of `ood_kept`."""


class Tuning(Record):
    """What tuning.json says."""

    model_config = ConfigDict(populate_by_name=True)

    format: int = FORMAT
    target: dict[str, float | str]
    """{"min_precision": number} or {"maximise": "macro_f1"}, and max_flagged and confidence where
    they were asked for."""
    origin: str = Field(alias="from")
    """Fingerprint of the bundle that was tuned."""
    before: Measures
    after: Measures
    decision: DecisionSettings
    promises: list[Promise] = Field([])
    """What the bundle promises; older files promise nothing."""
    ads_needed: dict[str, int | None] = Field({})
    """By target, about how many labelled ads a promise of it needs; null: no number would do."""


def target_of(settings: PromiseSettings) -> dict[str, float | str]:
    """Return what tuning.json names as its target."""
    wanted = {"min_precision", "max_flagged", "confidence"}
    named: dict[str, float | str] = settings.model_dump(include=wanted, exclude_none=True)
    return named if settings.min_precision else {"maximise": "macro_f1", **named}


def in_words(
    settings: PromiseSettings, reached: Measures, promises: Sequence[Promise] = ()
) -> str:
    """Say what was asked for, reached and promised, for the report and the model card."""
    min_precision = settings.min_precision
    target = (
        f"a precision of {min_precision:.1%}" if min_precision else "the largest macro-F1"
    )
    right = ""
    if reached.precision is not None:
        interval = f"95% interval from {reached.precision_low:.1%}"
        right = f" Of the kept ads {reached.precision:.1%} are right ({interval})."
    return (
        f"The target was {target}.{right} The thresholds keep {reached.coverage:.1%} of"
        f" the ads, and macro-F1 with Other is {reached.macro_f1:.1%}."
        f"{''.join([f' {promise.in_words()}' for promise in promises])}"
    )


def say_promises(promises: Sequence[Promise], needed: Mapping[str, int | None]) -> None:
    """Log what is promised, and how many labelled ads a promise needs in any case."""
    for promise in promises:
        promise_log.info("%s", promise.in_words().removesuffix("."))
    for name, number in needed.items():
        if number is None:
            promise_log.warning(
                "%s: no number of ads would do for a promise at this precision", name
            )
        else:
            promise_log.info(
                "%s: a promise needs about %s in all%s",
                name,
                count_of(number, "labelled ad"),
                "" if promises else ". Pass confidence to ask for one",
            )


def log_measures(name: str, model: FittedModel, measures: Measures) -> None:
    """Log what a decision reaches; what has no value is left out."""
    numbers = {
        "precision": measures.precision,
        "coverage": measures.coverage,
        "macro_f1": measures.macro_f1,
        "ood_kept": measures.ood_kept,
    }
    known = [f"{key} {value:.4f}" for key, value in numbers.items() if value is not None]
    decision = model.decision
    thresholds = (
        f"tau_other {decision.tau_other:g}, confidence gate {decision.ood_conf_gate:g}"
    )
    StepLog(name).info(f"{'  '.join(known)}  ({thresholds}, {decision.rule} rule)")


def warn_of_tuned(tuned: FittedModel, measures: Measures) -> None:
    """Warn of a decision that flags nothing, and of one that the gate of a run will refuse."""
    if tuned.decision.ood_conf_gate == 0:
        log.warning(
            "tuning found that flagging does not pay on these texts: with a confidence gate"
            " of 0 no ad will be flagged OOD"
        )
    other = 1 - measures.coverage
    if other > GateSettings().max_other_rate:
        log.warning(
            f"{other:.0%} of the ads will end as Other: set gate.max_other_rate above that,"
            " or the gate of a run refuses it"
        )

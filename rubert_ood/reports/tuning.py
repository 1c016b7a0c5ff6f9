"""What a tuning reached: tuning.json, and the words of the report and of the log."""

from pydantic import ConfigDict, Field

from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.tuning import Measures
from rubert_ood.progress import StepLog
from rubert_ood.runs.record import Record
from rubert_ood.settings import DecisionSettings, GateSettings

log = StepLog("tune")

FORMAT = 1
"""Of tuning.json. Files of 0.3.0 have no number, and `foreign_kept` instead of `ood_kept`."""


class Tuning(Record):
    """What tuning.json says."""

    model_config = ConfigDict(populate_by_name=True)

    format: int = FORMAT
    target: dict[str, float | str]
    """{"min_precision": number} or {"maximise": "macro_f1"}."""
    origin: str = Field(alias="from")
    """Fingerprint of the bundle that was tuned."""
    before: Measures
    after: Measures
    decision: DecisionSettings


def target_of(min_precision: float | None) -> dict[str, float | str]:
    """Return what tuning.json names as its target."""
    return {"min_precision": min_precision} if min_precision else {"maximise": "macro_f1"}


def in_words(min_precision: float | None, reached: Measures) -> str:
    """Say what was asked for and what was reached, for the report and the model card."""
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

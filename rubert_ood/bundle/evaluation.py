"""What a bundle says of itself in evaluation.json, as far as other jobs use it.

`reports/evaluation.py` writes the whole. This reads of every version, those before 0.4.0 without a
format number among them, what is used again; whatever else stands there is left alone.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from rubert_ood.bundle.bundle import Bundle
from rubert_ood.plain import printable
from rubert_ood.progress import StepLog

log = StepLog("bundle")

EVALUATION = "evaluation.json"
M = TypeVar("M", bound=BaseModel)


class Origin(BaseModel):
    """What the bundle was trained from; null where it is not said."""

    base_model: str | None = None
    num_train: int | None = None
    num_classes: int | None = None


class Headline(BaseModel):
    """The numbers at the top of evaluation.json; None: not measured."""

    accuracy: float | None = None
    macro_f1: float | None = None
    ece_after: float | None = None
    ood_rate: float | None = None
    other_rate: float | None = None


class ClassF1(BaseModel):
    """F1 on the test split; None where the class has no test ad."""

    label: str
    f1: float | None


class EvaluationSummary(BaseModel):
    """What other jobs take from evaluation.json."""

    context: Origin = Origin()
    headline: Headline = Headline()
    per_class: list[ClassF1] = []
    labels: list[str] = []

    def f1_by_class(self) -> dict[str, float | None]:
        """F1 on the test split by class; None where a class has no test ad."""
        return {row.label: row.f1 for row in self.per_class}


def read_evaluation(bundle: Bundle) -> EvaluationSummary | None:
    """Return what a bundle says of itself; None when it says nothing that can be read."""
    return read_as(bundle, EvaluationSummary)


def read_as(bundle: Bundle, schema: type[M]) -> M | None:
    """Return of evaluation.json what a schema asks for; None, with a line of the log where the file
    is damaged, when that cannot be read."""
    path = Path(bundle.folder, EVALUATION)
    if not path.is_file():
        return None
    try:
        return schema.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        reason = printable(f"{place}: {problem['msg']}")
        log.warning(
            "%s: ignores %s, which is damaged: %s", bundle.uri, EVALUATION, reason
        )
        return None

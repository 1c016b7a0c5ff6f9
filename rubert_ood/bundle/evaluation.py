"""What a bundle says of itself in evaluation.json, as far as other jobs use it."""

import logging
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rubert_ood.bundle.bundle import Bundle
from rubert_ood.plain import printable

log = logging.getLogger(__name__)

EVALUATION = "evaluation.json"


class _Context(BaseModel):
    base_model: str = ""
    num_train: int = 0
    num_classes: int = 0


class _Headline(BaseModel):
    accuracy: float | None = None
    macro_f1: float | None = None
    ece_after: float | None = None
    ood_rate: float | None = None
    other_rate: float | None = None


class _ClassRow(BaseModel):
    label: str
    f1: float | None


class _Evaluation(BaseModel):
    """What other jobs take from evaluation.json."""

    context: _Context = _Context()
    headline: _Headline = _Headline()
    per_class: list[_ClassRow] = []
    labels: list[str] = []


def read_evaluation(bundle: Bundle) -> dict[str, Any]:
    """Return what a bundle says of itself; empty when it says nothing that can be read."""
    path = Path(bundle.folder, EVALUATION)
    if not path.is_file():
        return {}
    try:
        return _Evaluation.model_validate_json(path.read_bytes()).model_dump(exclude_unset=True)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        reason = printable(f"{place}: {problem['msg']}")
        log.warning("bundle    %s: %s is left out: %s", bundle.uri, EVALUATION, reason)
        return {}

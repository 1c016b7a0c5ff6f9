"""What a tuning is to reach, and what of it the new bundle promises."""

from typing import Literal

from pydantic import Field, model_validator

from rubert_ood.settings.base import ExecutorSettings
from rubert_ood.settings.shared import DetectorName


class PromiseSettings(ExecutorSettings):
    """Targets of a tuning."""

    min_precision: float | None = Field(None, gt=0, lt=1)
    """Target: the smallest share of right classes among the kept ads, of which as many as possible
    are kept. Default: no target, but the largest macro-F1 (with Other as a class if
    evaluation.ood_uri is given)."""
    max_flagged: float | None = Field(None, gt=0, lt=1)
    """Largest share of ordinary ads that are flagged OOD. Needs confidence and the conformal
    rule, whose conformal_alpha it replaces."""
    confidence: float | None = Field(None, ge=0.5, lt=1)
    """How sure the promises of min_precision and max_flagged are, all of them at once. Default:
    min_precision is measured, not promised."""
    per_class: bool = False
    """Give each predicted class a limit of its own for far. Needs the conformal rule. Classes with
    too few ads share one. max_flagged then holds for each class."""
    rule: Literal["notebook", "conformal"] | None = None
    """OOD rule of the new bundle. Default: that of the old bundle."""
    detector: DetectorName | None = None
    """Detector of the new bundle (decision.detector), fitted on the features that the old one
    keeps. All but mahalanobis need the conformal rule. Default: that of the old bundle."""

    @model_validator(mode="after")
    def _something_to_promise(self) -> "PromiseSettings":
        targets = [self.min_precision, self.max_flagged]
        if self.confidence is not None and targets == [None, None]:
            raise ValueError(
                "confidence: there is nothing to promise. Pass min_precision or"
                " max_flagged as well"
            )
        if self.max_flagged is not None and self.confidence is None:
            raise ValueError("confidence: max_flagged needs it. Pass 0.95, for example")
        for name in ("max_flagged", "per_class"):
            if getattr(self, name) and self.rule == "notebook":
                raise ValueError(f"rule: {name} needs the conformal rule. Pass conformal")
        return self

    @property
    def risk(self) -> float:
        """What of 1 - confidence each promise may use up, so that all hold at once."""
        if self.confidence is None:
            return 1.0
        targets = [self.min_precision, self.max_flagged]
        num_promises = len(targets) - targets.count(None)
        return (1 - self.confidence) / num_promises

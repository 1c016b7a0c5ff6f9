"""What other thresholds would make of an ad: decided by the functions of `ood.decision` alone.

Nothing is written. The thresholds lie in the bundle, and `train` takes them as settings.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rubert_ood.errors import SchemaError
from rubert_ood.ood.decision import (
    Thresholds,
    TopClasses,
    check_rule,
    decide_on,
    fit_thresholds,
    p_limit,
)
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.limits import d2_at, d2_limit
from rubert_ood.settings import DecisionSettings

QUANTILE = "threshold_quantile"
BISECTIONS = 40
DIGITS = 4


class Numbers(BaseModel):
    """What a decision rests on; the page keeps it, so that the network runs once."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    labels: list[str] = Field(min_length=1, max_length=10_000)
    """The best classes, by score."""
    scores: list[float]
    d2: float = Field(ge=0)
    p: float | None = Field(None, gt=0, le=1)
    """ood_p of the detector that decides; None where that is Mahalanobis."""

    @model_validator(mode="after")
    def _one_score_each(self) -> "Numbers":
        if len(self.scores) != len(self.labels):
            raise ValueError("scores: there must be one for each label")
        return self


class Choice(BaseModel):
    """Thresholds that somebody tries; None stands for that of the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rule: Literal["notebook", "conformal"] | None = None
    tau_other: float | None = None
    ood_conf_gate: float | None = None
    alpha: float | None = None
    z_thr: float | None = None
    conformal_alpha: float | None = None
    threshold_quantile: float | None = Field(None, gt=0, lt=1)


@dataclass(frozen=True)
class Outcome:
    """A decision, with all that it compares."""

    label: str
    best: str
    """The best class, before Other."""
    is_ood: bool
    is_far: bool
    confidence: float
    d2: float
    z: float
    p: float
    p_limit: float
    """Conformal p at which an ad is far: of all, or of the class that it was taken for."""
    d2_limit: float | None
    """d2 above which an ad is far; None where another detector than Mahalanobis decides."""
    thresholds: Thresholds
    settings: DecisionSettings

    @property
    def answer(self) -> tuple[str, bool]:
        """What readers act on."""
        return self.label, self.is_ood


@dataclass(frozen=True)
class Flip:
    """A value of one setting, the others as they are, with which the answer is another."""

    setting: str
    value: float
    rises: bool
    """Whether the setting must be raised."""
    label: str
    is_ood: bool


def outcome(fitted: FittedModel, numbers: Numbers, choice: Choice) -> Outcome:
    """Decide on an ad under other thresholds.

    Raises SettingsError for a value that the settings refuse, SchemaError for a label that the
    bundle lacks.
    """
    settings, thresholds = _rule(fitted, choice)
    p_N = None
    if settings.detector != "mahalanobis":
        p_N = np.array([_p(numbers)])
    classes = [_number(fitted, label) for label in numbers.labels]
    top = TopClasses(np.array([classes]), np.array([numbers.scores]))
    decided = decide_on(
        top,
        np.array([numbers.d2]),
        p_N,
        labels=fitted.labels,
        thresholds=thresholds,
        settings=settings,
    )
    limit = float(np.ravel(p_limit(thresholds, settings, decided.predicted_N))[0])
    d2 = d2_limit(settings, thresholds)
    if d2 is not None and settings.rule == "conformal":
        d2 = d2_at(limit, thresholds)
    return Outcome(
        label=str(decided.label_N[0]),
        best=numbers.labels[0],
        is_ood=bool(decided.is_ood_N[0]),
        is_far=bool(decided.is_far_N[0]),
        confidence=float(decided.confidence_N[0]),
        d2=numbers.d2,
        z=float(decided.ood_z_N[0]),
        p=float(decided.ood_p_N[0]),
        p_limit=limit,
        d2_limit=d2,
        thresholds=thresholds,
        settings=settings,
    )


def bundle_choice(fitted: FittedModel) -> Choice:
    """Return the thresholds of the bundle, the quantile worked out from its threshold."""
    found = fitted.decision.model_dump(include=set(Choice.model_fields))
    d2_N, threshold = fitted.thresholds.calibration_d2, fitted.thresholds.threshold
    quantile = np.interp(threshold, d2_N, np.linspace(0, 1, len(d2_N)))
    smallest = 1e-6
    inside = min(max(round(float(quantile), 6), smallest), 1 - smallest)
    return Choice(**found, threshold_quantile=inside)


def ranges(fitted: FittedModel, rule: str) -> dict[str, tuple[float, float]]:
    """Return the settings that the rule looks at, each with the values that are tried."""
    shared = {"tau_other": (0.0, 1.0), "ood_conf_gate": (0.0, 1.01)}
    if rule == "conformal" and fitted.thresholds.by_class is not None:
        return shared  # the limits of the classes stand
    if rule == "conformal":
        smallest = 1 / (len(fitted.thresholds.calibration_d2) + 1)
        least = math.ceil(smallest * 10**DIGITS) / 10**DIGITS
        return shared | {"conformal_alpha": (least, 0.5)}
    return shared | {"alpha": (0.05, 5.0), QUANTILE: (0.5, 0.9999), "z_thr": (-1.0, 20.0)}


def flips(fitted: FittedModel, numbers: Numbers, choice: Choice) -> list[Flip]:
    """Return, by setting, the value nearest to the present one that changes the answer."""
    now = outcome(fitted, numbers, choice)
    values = bundle_choice(fitted).model_dump()
    values |= choice.model_dump(exclude_none=True)
    found = []
    for setting, ends in ranges(fitted, now.settings.rule).items():
        for end in ends:
            search = _Search(fitted, numbers, choice, setting, now)
            flip = search.towards(values[setting], end)
            if flip:
                found.append(flip)
    return found


@dataclass(frozen=True)
class _Search:
    """Looks for the value of one setting at which the answer turns."""

    fitted: FittedModel
    numbers: Numbers
    choice: Choice
    setting: str
    now: Outcome

    def towards(self, start: float, end: float) -> Flip | None:
        """Halve the way between a value that keeps the answer and one that changes it."""
        if not self._turns(end):
            return None
        same, other = start, end
        for _ in range(BISECTIONS):
            middle = (same + other) / 2
            if self._turns(middle):
                other = middle
            else:
                same = middle
        value = next(value for value in _shorter(other, end) if self._turns(value))
        after = self._outcome(value)
        return Flip(self.setting, value, end > start, after.label, after.is_ood)

    def _turns(self, value: float) -> bool:
        return self._outcome(value).answer != self.now.answer

    def _outcome(self, value: float) -> Outcome:
        tried = self.choice.model_copy(update={self.setting: value})
        return outcome(self.fitted, self.numbers, tried)


def _shorter(value: float, end: float) -> Iterator[float]:
    """Yield a value with few digits, a little farther on the way to `end`; then itself."""
    round_up = math.ceil if end >= value else math.floor
    yield round_up(value * 10**DIGITS) / 10**DIGITS
    yield value
    yield end


def _rule(fitted: FittedModel, choice: Choice) -> tuple[DecisionSettings, Thresholds]:
    changed = choice.model_dump(exclude={QUANTILE}, exclude_none=True)
    values = {**fitted.decision.model_dump(), **changed}
    if values["rule"] == "notebook":
        values["detector"] = "mahalanobis"  # the rule compares distances
    settings = DecisionSettings(**values)
    thresholds = fitted.thresholds
    check_rule(settings, len(thresholds.calibration_d2))
    if choice.threshold_quantile is not None:
        d2_N = thresholds.calibration_d2
        thresholds = fit_thresholds(d2_N, quantile=choice.threshold_quantile)
    by_class = fitted.thresholds.by_class
    if settings.conformal_alpha != fitted.decision.conformal_alpha:
        by_class = None  # one limit for all is tried
    return settings, replace(thresholds, by_class=by_class)


def _p(numbers: Numbers) -> float:
    if numbers.p is None:
        raise SchemaError("p: this bundle decides by it. Load the page again")
    return numbers.p


def _number(fitted: FittedModel, label: str) -> int:
    if label not in fitted.labels:
        raise SchemaError(f"label {label!r}: this bundle has no such class")
    return fitted.labels.index(label)

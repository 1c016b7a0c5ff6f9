"""What a run of MLflow says of a bundle: how it was trained, and how good it is.

All of it stands in the bundle's evaluation.json. No text of an ad is among it.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, JsonValue

from rubert_ood.bundle import Bundle
from rubert_ood.bundle.evaluation import read_as

FINGERPRINT_TAG = "rubert_ood.fingerprint"
URI_TAG = "rubert_ood.bundle_uri"
"""Of a model version: where its bundle lies, if that is not its source."""
VERSION_TAG = "rubert_ood.bundle_version"
NOT_IN_NAMES = re.compile(r"[^\w.\-]")
Epoch = Mapping[str, int | float]


class OneTraining(BaseModel):
    """One of the trainings of a bundle."""

    seed: int
    history: list[dict[str, int | float]]
    """By epoch."""


class Known(BaseModel):
    """Where the numbers of evaluation.json come from."""

    base_model: str | None = None
    tuned_from: str | None = None
    num_train: int | None = None
    num_valid: int | None = None
    num_test: int | None = None
    num_calibration: int | None = None
    num_classes: int | None = None
    seed: int | None = None
    best_epoch: int | None = None
    runs: list[OneTraining] | None = None
    settings: dict[str, JsonValue] | None = None


class Kind(BaseModel):
    """A kind of OOD text."""

    kind: str
    flagged: float


class Evaluated(BaseModel):
    """What is taken from evaluation.json."""

    context: Known = Known()
    headline: dict[str, JsonValue] = {}
    baseline: dict[str, JsonValue] | None = None
    ood_kinds: list[Kind] = []


@dataclass(frozen=True)
class Number:
    """A metric at a step; epochs are counted from 1, and what has none stands at 0."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class RunContent:
    """What a run is made of."""

    name: str
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Number] = field(default_factory=list)


def content_of(bundle: Bundle) -> RunContent:
    """Return what a run says of a bundle; one without an evaluation has tags alone."""
    tags = {FINGERPRINT_TAG: bundle.fingerprint, URI_TAG: bundle.uri}
    tags[VERSION_TAG] = bundle.version
    found = read_as(bundle, Evaluated)
    if found is None:
        return RunContent(bundle.version, tags)
    known = found.context
    params = known.model_dump(exclude={"runs", "settings"}, exclude_none=True)
    params |= known.settings or {}
    return RunContent(
        name=bundle.version,
        tags=tags,
        params=dict(_flat(params)),
        metrics=[number for number in _numbers(found) if math.isfinite(number.value)],
    )


def _flat(values: Mapping[str, JsonValue], group: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings under the names that they have in flags; None is left out."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{group}{name}.")
        elif value is not None:
            yield f"{group}{name}", str(value)


def _numbers(found: Evaluated) -> Iterator[Number]:
    """Yield the metrics by epoch, then the figures of the evaluation."""
    for run in found.context.runs or []:
        is_kept = run.seed == found.context.seed
        prefix = "" if is_kept else f"seed_{run.seed}/"
        for epoch in run.history:
            yield from _of_epoch(epoch, prefix)
    figures = {"evaluation": found.headline, "baseline": found.baseline or {}}
    for group, values in figures.items():
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield Number(f"{group}/{name}", value)
    for kind in found.ood_kinds:
        name = NOT_IN_NAMES.sub("_", kind.kind)
        yield Number(f"evaluation/ood_flagged/{name}", kind.flagged)


def _of_epoch(epoch: Epoch, prefix: str) -> Iterator[Number]:
    for name, value in epoch.items():
        if name != "epoch":
            yield Number(f"{prefix}{name}", value, int(epoch["epoch"]))

"""What the jobs that start from a bundle, or end with one, have in common."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier.features import compute_features
from rubert_ood.classifier.outputs import Outputs
from rubert_ood.plain import printable
from rubert_ood.settings import WorkerSettings

log = logging.getLogger(__name__)

EVALUATION = "evaluation.json"


def version_name(given: str | None) -> str:
    """Return the version of a new bundle: the one that was asked for, or the UTC time."""
    return given or datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")


def bundle_outputs(bundle: Bundle, parts: Mapping[str, LabelledAds], workers: WorkerSettings) -> dict[str, Outputs]:
    """Run every part through the network of a bundle as scoring does; Ray must have been started."""
    features = compute_features(
        parts,
        partial(_checked_folder, bundle.uri, bundle.fingerprint),
        max_length=bundle.max_length,
        long_text=bundle.long_text,
        workers=workers,
        precision=bundle.precision,
    )
    return features.gather()


def _checked_folder(uri: str, fingerprint: str) -> str:
    """Return the folder of a bundle on this node, checked here as well."""
    return load_bundle(uri, fingerprint=fingerprint).folder


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

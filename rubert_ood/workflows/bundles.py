"""What the jobs that start from a bundle, or end with one, have in common."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.bundle import Bundle
from rubert_ood.bundle_files import read_json
from rubert_ood.classifier.features import compute_features
from rubert_ood.classifier.outputs import Outputs
from rubert_ood.settings import WorkerSettings

EVALUATION = "evaluation.json"


def version_name(given: str | None) -> str:
    """Return the version of a new bundle: the one that was asked for, or the UTC time."""
    return given or datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")


def bundle_outputs(bundle: Bundle, parts: Mapping[str, LabelledAds], workers: WorkerSettings) -> dict[str, Outputs]:
    """Run every part through the network of a bundle as scoring does; Ray must have been started."""
    features = compute_features(
        parts,
        bundle.uri,
        max_length=bundle.max_length,
        long_text=bundle.long_text,
        workers=workers,
        precision=bundle.precision,
    )
    return features.gather()


def read_evaluation(bundle: Bundle) -> dict[str, Any]:
    """Return what a bundle says of itself; empty when it was written without an evaluation."""
    if not os.path.isfile(os.path.join(bundle.folder, EVALUATION)):
        return {}
    content = read_json(bundle.folder, EVALUATION)
    return content if isinstance(content, dict) else {}

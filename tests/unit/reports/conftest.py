"""A model of four classes in six dimensions, whose features say something, and what the scoring job
says of a run."""

import numpy as np
import pytest

from rubert_ood.ood.fit import FittedModel, fit
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.outputs import Outputs
from rubert_ood.runs.manifest import Manifest
from rubert_ood.settings import DecisionSettings, FitSettings

LABELS = ["Гаражи", "Книги", "Кошки", "Обувь"]
NUM_DIMENSIONS = 6
CENTRES_CH = np.eye(4, NUM_DIMENSIONS) * 4


def part(cls_NH: np.ndarray, labels_N: np.ndarray) -> Outputs:
    """Classify by the nearest centre, with too much confidence."""
    logits_NC = -((cls_NH[:, None] - CENTRES_CH) ** 2).sum(axis=2)
    cls_NH = cls_NH.astype(np.float32)
    return Outputs(logits_NC.astype(np.float32), cls_NH, labels_N, cls_NH)


def ads(num: int, seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    labels_N = np.arange(num) % 4
    return part(
        CENTRES_CH[labels_N] + rng.normal(size=(num, NUM_DIMENSIONS)) * 1.6, labels_N
    )


def foreign(num: int, seed: int, *, distance: float) -> Outputs:
    """Texts off the classes' plane, between them: far away and not confident."""
    rng = np.random.default_rng(seed)
    cls_NH = CENTRES_CH.mean(axis=0) + rng.normal(size=(num, NUM_DIMENSIONS))
    cls_NH[:, 4:] += distance
    return part(cls_NH, np.full(num, -1))


@pytest.fixture(scope="session")
def splits() -> dict[str, Outputs]:
    return {"train": ads(400, 1), "valid": ads(120, 2), "test": ads(200, 3)}


@pytest.fixture(scope="session")
def ood() -> dict[str, Outputs]:
    return {"talk": foreign(40, 5, distance=9.0), "news": foreign(50, 4, distance=3.0)}


@pytest.fixture(scope="session")
def hard_cases() -> tuple[list[tuple[str, str]], Outputs]:
    """One ad of each class at its centre, and one text from far away, which should be Other."""
    cases = [(f"трудный случай: {label.lower()}", label) for label in LABELS] + [
        ("ни о чём", "Other")
    ]
    far_NH = CENTRES_CH.mean(axis=0, keepdims=True) + np.r_[np.zeros(4), 20, 20]
    return cases, part(np.r_[CENTRES_CH, far_NH], np.full(5, -1))


@pytest.fixture(scope="session")
def model(splits: dict[str, Outputs]) -> FittedModel:
    train, valid = splits["train"], splits["valid"]
    return fit(
        fit_mahalanobis(train.cls_NH, train.labels_N, len(LABELS)),
        valid,
        labels=LABELS,
        settings=FitSettings(),
        decision=DecisionSettings(tau_other=0.5),
    )


@pytest.fixture
def manifest() -> Manifest:
    """The manifest of a small run, without what earlier versions did not count."""
    return Manifest.model_validate(
        {
            "run_id": "abc123",
            "run_date": "2026-11-24",
            "run_uri": "s3://ads/run_id=abc123",
            "outcome": "published",
            "started_at": "2026-11-24T10:00:00+00:00",
            "finished_at": "2026-11-24T10:01:35+00:00",
            "elapsed_s": 95.0,
            "rows_per_s": 10.5,
            "bundle": {"uri": "s3://b", "version": "v1", "fingerprint": "b" * 64},
            "counts": {
                "rows_in": 1000,
                "rows_planned": 1000,
                "rows_scored": 990,
                "rows_rejected": 10,
                "rows_quarantined": 0,
                "rows_empty": 3,
                "rows_ood": 33,
                "rows_other": 66,
                "bytes_in": 1_000_000,
                "bytes_quarantined": 0,
                "unique_texts": 792,
                "tokens": 45_000,
            },
            "classes": {"Книги": 700, "Кошки": 224, "Other": 66},
            "duplicates": None,
            "gate": [],
        }
    )

"""Hard cases and out-of-domain texts: what an evaluation measures beside ads."""

from dataclasses import dataclass

import numpy as np

from rubert_ood.ads.dataset import LabelledAds, read_texts
from rubert_ood.ads.text import TextCleaner
from rubert_ood.settings import EvaluationSettings


@dataclass(frozen=True)
class ExtraTexts:
    """Hard cases and out-of-domain texts, cleaned as ads are."""

    hard_cases: list[tuple[str, str]]
    """(text as written, expected label)."""
    splits: dict[str, LabelledAds]
    """`hard_cases`, and `ood/KIND` for each kind; their classes are unknown (-1)."""


def load_extra_texts(settings: EvaluationSettings, cleaner: TextCleaner) -> ExtraTexts:
    """Read what the settings name."""
    splits, hard_cases = {}, []
    if settings.hard_cases_uri:
        rows = read_texts(settings.hard_cases_uri, "label", cleaner)
        hard_cases = [(text, label) for text, _, label in rows]
        splits["hard_cases"] = _unlabelled([cleaned for _, cleaned, _ in rows])
    if settings.ood_uri:
        kinds: dict[str, list[str]] = {}
        for _, cleaned, kind in read_texts(settings.ood_uri, "kind", cleaner):
            kinds.setdefault(kind, []).append(cleaned)
        splits |= {f"ood/{kind}": _unlabelled(texts) for kind, texts in kinds.items()}
    return ExtraTexts(hard_cases, splits)


def _unlabelled(texts: list[str]) -> LabelledAds:
    return LabelledAds(texts, np.full(len(texts), -1))

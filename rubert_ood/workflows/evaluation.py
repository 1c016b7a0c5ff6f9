"""Measure a model: shared by training, which measures what it just fitted, and by `evaluate`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rubert_ood.ads.dataset import LabelledAds, read_texts
from rubert_ood.ads.text import TextCleaner
from rubert_ood.classifier.outputs import Outputs
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.reference import Reference
from rubert_ood.reports.evaluation import evaluate
from rubert_ood.reports.html import evaluation_html
from rubert_ood.settings import EvaluationSettings

SPLITS = ("train", "valid", "calibration", "test")


@dataclass(frozen=True)
class ExtraTexts:
    """Hard cases and out-of-domain texts, cleaned as ads are."""

    hard_cases: list[tuple[str, str]]
    """(text as written, expected label)."""
    parts: dict[str, LabelledAds]
    """`hard_cases`, and `ood/KIND` for each kind; their classes are unknown (-1)."""


def load_extra_texts(settings: EvaluationSettings, cleaner: TextCleaner) -> ExtraTexts:
    """Read what the settings name."""
    parts, hard_cases = {}, []
    if settings.hard_cases_uri:
        rows = read_texts(settings.hard_cases_uri, "label", cleaner)
        hard_cases = [(text, label) for text, _, label in rows]
        parts["hard_cases"] = _unlabelled([cleaned for _, cleaned, _ in rows])
    if settings.ood_uri:
        kinds: dict[str, list[str]] = {}
        for _, cleaned, kind in read_texts(settings.ood_uri, "kind", cleaner):
            kinds.setdefault(kind, []).append(cleaned)
        parts |= {f"ood/{kind}": _unlabelled(texts) for kind, texts in kinds.items()}
    return ExtraTexts(hard_cases, parts)


def _unlabelled(texts: list[str]) -> LabelledAds:
    return LabelledAds(texts, np.full(len(texts), -1))


def evaluation_documents(
    fitted: FittedModel,
    outputs: Mapping[str, Outputs],
    *,
    extra: ExtraTexts,
    test: LabelledAds,
    reference: Reference | None,
    baseline: Mapping[str, float] | None,
    context: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the evaluation, and evaluation.json and evaluation.html as texts by file name."""
    evaluation = evaluate(
        fitted,
        {name: outputs[name] for name in SPLITS if name in outputs},
        hard_cases=(extra.hard_cases, outputs["hard_cases"]) if extra.hard_cases else None,
        ood={name.partition("/")[2]: part for name, part in outputs.items() if name.startswith("ood/")} or None,
        baseline=baseline,
        reference=reference,
        test_ads=test,
        context=context,
    )
    data = json.dumps(evaluation, ensure_ascii=False, indent=1, allow_nan=False)
    return evaluation, {"evaluation.json": data, "evaluation.html": evaluation_html(evaluation)}

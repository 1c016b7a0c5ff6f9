"""The documents of an evaluation and of a comparison: JSON for programs, a page for people."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from rubert_ood import storage
from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ads.extra_texts import ExtraTexts
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.reports.evaluation import evaluate
from rubert_ood.reports.html import diff_html, evaluation_html

log = logging.getLogger(__name__)

SPLITS = ("train", "valid", "calibration", "test")


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
        ood={
            name.partition("/")[2]: part
            for name, part in outputs.items()
            if name.startswith("ood/")
        }
        or None,
        baseline=baseline,
        reference=reference,
        test_ads=test,
        context=context,
    )
    data = json.dumps(evaluation, ensure_ascii=False, indent=1, allow_nan=False)
    return evaluation, {"evaluation.json": data, "evaluation.html": evaluation_html(evaluation)}


def write_diff(document: dict[str, Any], output_uri: str) -> None:
    """Write diff.json, for programs, and diff.html, for people."""
    data = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    storage.put_bytes(storage.join(output_uri, "diff.json"), data.encode())
    storage.put_bytes(storage.join(output_uri, "diff.html"), diff_html(document).encode())
    log.info("report    %s", storage.join(output_uri, "diff.html"))

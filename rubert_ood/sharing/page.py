"""The page of a repository: README.md, whose YAML head the hub reads, from a template."""

import os
import re
from functools import lru_cache

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from rubert_ood.bundle import Bundle
from rubert_ood.bundle.evaluation import EvaluationSummary, read_evaluation
from rubert_ood.plain import markdown, printable

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
TAGS = ["classified-ads", "out-of-distribution-detection", "mahalanobis", "rubert_ood"]
NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "ece_after": "ECE after T",
    "ood_rate": "share flagged OOD",
    "other_rate": "share labelled Other",
}
OF_THE_HUB = {"accuracy": "accuracy", "macro_f1": "f1"}
"""Numbers that the hub has a metric of its own for."""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rubert_ood.sharing"),
        autoescape=False,  # this is Markdown: the filter below is for what others wrote
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = markdown
    return environment


def page_of(bundle: Bundle, repo_id: str, license: str | None) -> str:
    """Write the page from what the bundle says of itself; names in it never act as markup."""
    evaluation = read_evaluation(bundle) or EvaluationSummary()
    base_model = hub_name(evaluation.context.base_model)
    measured = _measured(evaluation)
    return (
        _environment()
        .get_template("page.md.j2")
        .render(
            head=_head(bundle, license, base_model, measured),
            bundle=bundle,
            fitted=bundle.fitted,
            decision=bundle.fitted.decision,
            repo_id=repo_id,
            license=license,
            base_model=base_model,
            num_train=evaluation.context.num_train,
            measured={NAMES[name]: value for name, value in measured.items()},
        )
    )


def hub_name(base_model: str | None) -> str | None:
    """Return the name of a base model if it is one of the hub; None for a folder or an object."""
    if base_model is None or not HUB_NAME.fullmatch(base_model):
        return None
    return None if os.path.exists(base_model) else base_model


def _measured(evaluation: EvaluationSummary) -> dict[str, float]:
    """Return the numbers on test ads that are known."""
    numbers = evaluation.headline.model_dump()
    return {name: numbers[name] for name in NAMES if numbers[name] is not None}


def _head(
    bundle: Bundle,
    license: str | None,
    base_model: str | None,
    measured: dict[str, float],
) -> str:
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type="private",
            dataset_name="labelled private ads",
            dataset_split="test",
            metric_type=kind,
            metric_name=NAMES[name],
            metric_value=round(measured[name], 4),
        )
        for name, kind in OF_THE_HUB.items()
        if name in measured
    ]
    data = ModelCardData(
        language="ru",
        license=license,
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=base_model,
        tags=TAGS,
        metrics=list(OF_THE_HUB.values()),
        model_name=printable(bundle.version),
        eval_results=results or None,
    )
    return data.to_yaml(line_break="\n")

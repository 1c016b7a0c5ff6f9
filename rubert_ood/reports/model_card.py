"""The model card of a bundle: README.md with the YAML head that model hubs read."""

import yaml

from rubert_ood.plain import markdown, printable
from rubert_ood.reports import good
from rubert_ood.reports.evaluation import Context, Evaluation, Finding
from rubert_ood.training.stack import StackReport


def model_card(evaluation: Evaluation) -> str:
    """Write the card from the evaluation; names in it are shown as they are, never as markup."""
    context, headline = evaluation.context, evaluation.headline
    head = {
        "language": "ru",
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        **({"base_model": printable(context.base_model)} if context.base_model else {}),
        "metrics": ["accuracy", "f1"],
        "tags": ["classified-ads", "out-of-distribution-detection", "mahalanobis"],
    }
    stack = evaluation.stack
    is_mixed = context.stack_weight is not None or (stack is not None and stack.is_kept)
    alone = ", those of the network alone" if is_mixed else ""
    findings = "\n".join(
        f"- {'' if item.ok else 'CAUTION: '}{markdown(item.text)}{_mended(item)}"
        for item in evaluation.verdict
    )
    return f"""---
{yaml.safe_dump(head, allow_unicode=True, sort_keys=False)}---

# Classifier of Russian private ads, version {markdown(context.version)}

{_origin(context)}
It reads `clean(title + " " + description)`, and `text.json` holds what the cleaner removes.

{findings}

| | |
|---|---|
| accuracy, larger is better | {headline.accuracy:.4f} |
| macro-F1, larger is better | {headline.macro_f1:.4f} |
| temperature T | {headline.temperature:.4f} |
| ECE after T, {good.ECE} | {headline.ece_after:.4f} |
| d2 threshold ({headline.calibrated_on}), a squared distance | {headline.threshold:,.2f} |
{_stack(stack)}
Load this folder with `AutoModelForSequenceClassification.from_pretrained` for plain labels{alone}.
Use `rubert-ood predict` or `rubert-ood score` for labels with temperature, OOD flag and "Other".
Open `evaluation.html` for the whole evaluation.
"""


def _mended(finding: Finding) -> str:
    """Return what to do about a finding, behind its text; "" where there is nothing to do."""
    return f" {finding.advice}: `{finding.command}`" if finding.command else ""


def _stack(stack: StackReport | None) -> str:
    """Return a table of what words gain beside the network, with its caption; "" without one."""
    if stack is None:
        return ""
    lines = ["", "| on test | accuracy | macro-F1 | ECE after T |", "|---|---|---|---|"]
    for name, score in stack.test.named():
        numbers = (score.accuracy, score.macro_f1, score.ece)
        cells = [f"{number:.4f}" for number in numbers if number is not None]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join([*lines, "", f"{stack.outcome()}", ""])


def _origin(context: Context) -> str:
    parts = []
    if context.base_model:
        count = "" if context.num_train is None else f" on {context.num_train:,} ads"
        parts.append(f"It was fine-tuned from {markdown(context.base_model)}{count}.")
    if context.tuned_from:
        older = markdown(context.tuned_from)
        parts.append(
            f"The thresholds were tuned from version {older}, and measured on the ads that"
            " chose them."
        )
        parts.append(markdown(context.tuned_for or ""))
    return " ".join(parts)

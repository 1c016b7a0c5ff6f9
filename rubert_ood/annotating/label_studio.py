"""Tasks and labelling configuration as Label Studio imports them.

Format: labelstud.io/guide/tasks (JSON), labelstud.io/guide/predictions (pre-annotations),
labelstud.io/tags/choices (configuration).
"""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import quoteattr

from rubert_ood.annotating.document import Export, Task
from rubert_ood.annotating.mix import RANDOM

NOT_AN_AD, NO_CLASS = "[not an ad]", "[no class fits]"
"""Answers beside the classes."""
TEXT, ANSWER, FINER = "text", "category", "subcategory"
"""Names of tags in the configuration: what is shown, and what is answered."""


def label_config(labels: Sequence[str], sub_labels: Mapping[str, Sequence[str]]) -> str:
    """Return the XML of a project: the text, one choice of the classes, and where a class has finer
    ones, one choice of those."""
    lines = [
        "<View>",
        f'  <Header value="$title"/>\n  <Text name="{TEXT}" value="$description"/>',
        f'  <Filter name="filter" toName="{ANSWER}" minlength="0"/>',
        f'  <Choices name="{ANSWER}" toName="{TEXT}" choice="single" required="true"'
        ' showInLine="true">',
    ]
    for label in (*labels, NO_CLASS, NOT_AN_AD):
        lines.append(f"    <Choice value={quoteattr(label)}/>")
    lines.append("  </Choices>")
    for number, (label, finer) in enumerate(sub_labels.items()):
        lines.append(
            f'  <Choices name="{FINER}_{number}" toName="{TEXT}" choice="single"'
            f' visibleWhen="choice-selected" whenTagName="{ANSWER}"'
            f" whenChoiceValue={quoteattr(label)}>"
        )
        lines += [f"    <Choice value={quoteattr(name)}/>" for name in finer]
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>", ""])


def tasks_of(export: Export, *, blind_control: bool) -> list[dict[str, object]]:
    """Return the tasks, with predictions but for a random control that is to be blind."""
    numbers = {label: number for number, label in enumerate(export.sub_labels)}
    tasks = list[dict[str, object]]()
    for task in export.tasks:
        item: dict[str, object] = {"data": _data(task, export)}
        if task.best and not (blind_control and task.kind == RANDOM):
            item["predictions"] = [_prediction(task, export, numbers)]
        tasks.append(item)
    return tasks


def _data(task: Task, export: Export) -> dict[str, object]:
    return {
        "title": task.title,
        "description": task.description,
        "city": task.city,
        "task": task.task,
        "key": task.key,
        "ad_id": task.ad_id,
        "export": export.name,
    }


def _prediction(
    task: Task, export: Export, numbers: Mapping[str, int]
) -> dict[str, object]:
    result = [_choice(ANSWER, task.best)]
    if task.sub_label and task.best in numbers:
        result.append(_choice(f"{FINER}_{numbers[task.best]}", task.sub_label))
    return {
        "model_version": export.bundle.version or export.bundle.fingerprint[:12],
        "score": task.confidence,
        "result": result,
    }


def _choice(name: str, value: str) -> dict[str, object]:
    return {
        "from_name": name,
        "to_name": TEXT,
        "type": "choices",
        "value": {"choices": [value]},
    }

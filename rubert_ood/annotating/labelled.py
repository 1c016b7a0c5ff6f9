"""From votes to labelled ads: the majority decides, what has none is left out and counted."""

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa

from rubert_ood.annotating.agreement import Accuracy, krippendorff_alpha
from rubert_ood.annotating.answers import Answer, Votes
from rubert_ood.annotating.document import Export, Task
from rubert_ood.annotating.label_studio import NO_CLASS, NOT_AN_AD
from rubert_ood.annotating.mix import RANDOM
from rubert_ood.ood.decision import OTHER

SCHEMA = pa.schema(
    [
        pa.field("ad_id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("description", pa.string()),
        pa.field("city", pa.string()),
        pa.field("category", pa.string()),
        pa.field("subcategory", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("weight", pa.float64()),
        pa.field("copies", pa.int64()),
        pa.field("num_annotators", pa.int64()),
        pa.field("num_agreeing", pa.int64()),
        pa.field("run_label", pa.string()),
        pa.field("run_confidence", pa.float64()),
        pa.field("export", pa.string()),
    ]
)
NOT_ADS_SCHEMA = pa.schema([pa.field("text", pa.string()), pa.field("kind", pa.string())])


@dataclass
class Imported:
    """What became of an export."""

    rows: list[dict[str, object]] = field(default_factory=list)
    not_ads: list[dict[str, object]] = field(default_factory=list)
    num_no_class: int = 0
    disagreed: list[int] = field(default_factory=list)
    """Numbers of the tasks without a majority."""
    missing: list[int] = field(default_factory=list)
    """Numbers of the tasks without a valid answer."""
    control: Accuracy = field(default_factory=lambda: Accuracy(0, 0))
    num_control_open: int = 0
    """Ads of the random control without a decided answer."""
    right: dict[str, Accuracy] = field(default_factory=dict)
    """By kind: tasks whose label in the run is the answer."""
    alpha: float | None = None
    num_shared: int = 0
    """Tasks that several annotators answered."""

    def table(self) -> pa.Table:
        """Return the labelled ads."""
        return pa.Table.from_pylist(self.rows, schema=SCHEMA)

    def not_ads_table(self) -> pa.Table:
        """Return the texts that are not ads, as `evaluation.ood_uri` takes them."""
        return pa.Table.from_pylist(self.not_ads, schema=NOT_ADS_SCHEMA)


def decide_answers(export: Export, votes: Votes) -> Imported:
    """Decide on each task of an export by the majority of its annotators."""
    found = Imported()
    right: Counter[str] = Counter()
    decided: Counter[str] = Counter()
    control_right = control_num = 0
    for task in export.tasks:
        given = list(votes.by_key.get(task.key, {}).values())
        said = _majority(given)
        if said is None:
            (found.disagreed if given else found.missing).append(task.task)
            found.num_control_open += task.copies * (task.kind == RANDOM)
            continue
        is_right = _is_right(task.label, said)
        decided[task.kind] += 1
        right[task.kind] += is_right
        if task.kind == RANDOM:
            control_num += task.copies
            control_right += task.copies * is_right
        _note(found, task, said, given, export.name)
    found.control = Accuracy(control_right, control_num)
    for kind, num in decided.items():
        found.right[kind] = Accuracy(right[kind], num)
    units = [
        [vote.answer for vote in by_annotator.values()]
        for by_annotator in votes.by_key.values()
    ]
    found.num_shared = sum(len(unit) > 1 for unit in units)
    found.alpha = krippendorff_alpha(units)
    return found


def _majority(given: list[Answer]) -> str | None:
    """Return the answer of more than half of the annotators; None without one."""
    counts = Counter(vote.answer for vote in given)
    for answer, count in counts.most_common(1):
        if 2 * count > len(given):
            return answer
    return None


def _is_right(label: str, answer: str) -> bool:
    """Say whether the run is right: Other is right where no class is."""
    if answer in (NO_CLASS, NOT_AN_AD):
        return label == OTHER
    return label == answer


def _note(
    found: Imported, task: Task, said: str, given: list[Answer], export: str
) -> None:
    if said == NO_CLASS:
        found.num_no_class += 1
        return
    if said == NOT_AN_AD:
        text = f"{task.title} {task.description}".strip()
        found.not_ads.append({"text": text, "kind": "not an ad"})
        return
    agreeing = [vote for vote in given if vote.answer == said]
    finer = Counter(vote.finer for vote in agreeing if vote.finer)
    sub = finer.most_common(1)[0] if finer else ("", 0)
    row: dict[str, object] = {
        "ad_id": task.ad_id,
        "title": task.title,
        "description": task.description,
        "city": task.city or None,
        "category": said,
        "subcategory": sub[0] if 2 * sub[1] > len(agreeing) else None,
        "kind": task.kind,
        "weight": task.weight,
        "copies": task.copies,
        "num_annotators": len(given),
        "num_agreeing": len(agreeing),
        "run_label": task.label,
        "run_confidence": task.confidence,
        "export": export,
    }
    found.rows.append(row)

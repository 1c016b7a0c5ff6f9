"""The answers of annotators: the JSON export of Label Studio, or the CSV of an export filled in."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rubert_ood import storage
from rubert_ood.ads.csv_table import is_csv
from rubert_ood.ads.labels import label_index, normal_label
from rubert_ood.ads.schema import has
from rubert_ood.ads.tables import inspect, read_rows
from rubert_ood.annotating.label_studio import ANSWER, FINER, NO_CLASS, NOT_AN_AD
from rubert_ood.annotating.sheet import KEY_MARK
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.ood.decision import OTHER

NEEDED = ("key", "answer")
OPTIONAL = ("sub_answer", "annotator")
ALSO = {OTHER.casefold(): NO_CLASS, NO_CLASS: NO_CLASS, NOT_AN_AD: NOT_AN_AD}
"""Answers that are not a class, however they are written."""
MADE_IN = "Use Label Studio's export in the format JSON"


@dataclass(frozen=True)
class Answer:
    """What one annotator said of one ad."""

    key: str
    annotator: str
    answer: str
    """As written; "" where there is none."""
    finer: str = ""


@dataclass
class Votes:
    """The valid answers by key and annotator, and what was left out."""

    by_key: dict[str, dict[str, Answer]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    """Answers that are not a class, in normal form."""


def collect(
    answers: Iterator[Answer | str],
    keys: Mapping[str, object],
    labels: list[str],
    *,
    takes_new: bool,
) -> Votes:
    """Keep the valid answers, of each annotator the last; count the others by what is wrong."""
    votes, index = Votes(), label_index(labels)
    for answer in answers:
        if isinstance(answer, str):
            votes.left_out[answer] += 1
            continue
        name = normal_label(answer.answer)
        if answer.key not in keys:
            votes.left_out["of another export"] += 1
        elif not name:
            votes.left_out["without an answer"] += 1
        elif name not in index and name.casefold() not in ALSO and not takes_new:
            votes.left_out["not a class"] += 1
            votes.unknown[name] += 1
        else:
            label = labels[index[name]] if name in index else name
            said = label if name in index else ALSO.get(name.casefold(), label)
            given = votes.by_key.setdefault(answer.key, {})
            if answer.annotator in given:
                votes.left_out["replaced by a later one"] += 1
            given[answer.annotator] = Answer(
                answer.key, answer.annotator, said, normal_label(answer.finer)
            )
    return votes


def read_answers(uri: str) -> Iterator[Answer | str]:
    """Yield the answers of a file, or why one is left out.

    Raises InputError or SchemaError, one line, where the file is not such an export.
    """
    yield from (_read_csv(uri) if is_csv(uri) else _read_json(uri))


def _read_csv(uri: str) -> Iterator[Answer | str]:
    info = inspect(uri)
    names = info.schema.names
    for name in NEEDED:
        if name not in names:
            raise SchemaError(
                f"{uri}: the table has no column {name!r}."
                f" {has(uri, info.schema, NEEDED)}"
            )
    columns = [*NEEDED, *(name for name in OPTIONAL if name in names)]
    table = read_rows(uri, columns, delimiter=info.delimiter)
    for row in table.to_pylist():
        values = {name: row.get(name) or "" for name in (*NEEDED, *OPTIONAL)}
        yield Answer(
            values["key"].strip().removeprefix(KEY_MARK),  # older exports have none
            values["annotator"].strip(),
            values["answer"],
            values["sub_answer"],
        )


def _read_json(uri: str) -> Iterator[Answer | str]:
    try:
        tasks = json.loads(storage.read_bytes(uri))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{uri}: the file does not hold JSON. {MADE_IN}") from error
    if not isinstance(tasks, list):
        raise InputError(f"{uri}: the file does not hold a list of tasks. {MADE_IN}")
    for number, task in enumerate(tasks, start=1):
        data = task.get("data") if isinstance(task, dict) else None
        given = task.get("annotations") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(given, list):
            raise InputError(
                f"{uri}: item {number} has no data or no annotations. {MADE_IN}"
            )
        annotations = [item for item in given if isinstance(item, dict)]
        for item in sorted(annotations, key=_moment):
            yield _answer(str(data.get("key", "")), item)


def _moment(item: Mapping[str, object]) -> str:
    return str(item.get("updated_at") or item.get("created_at") or "")


def _answer(key: str, item: Mapping[str, object]) -> Answer | str:
    """Take the answer out of an annotation, or say why it is left out."""
    if item.get("was_cancelled"):
        return "cancelled"
    who = item.get("completed_by")
    annotator = str(who.get("id") if isinstance(who, dict) else who)
    answers, finer = list[str](), list[str]()
    results = item.get("result")
    for result in results if isinstance(results, list) else []:
        name = str(result.get("from_name", "")) if isinstance(result, dict) else ""
        if name == ANSWER:
            answers += _choices(result)
        elif name.startswith(f"{FINER}_"):
            finer += _choices(result)
    if len(answers) > 1:
        return "of several classes"
    return Answer(key, annotator, "".join(answers), finer[0] if len(finer) == 1 else "")


def _choices(result: Mapping[str, object]) -> list[str]:
    value = result.get("value")
    found = value.get("choices") if isinstance(value, dict) else None
    return [name for name in found or [] if isinstance(name, str)]

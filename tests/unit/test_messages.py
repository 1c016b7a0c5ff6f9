"""The English of messages and of `--help`, measured: short sentences, no telegrams, right plurals.

A message is what is raised or logged. Its holes count as one word each.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubert_ood.cli import VERBS
from rubert_ood.settings.base import JobSettings
from rubert_ood.settings.problems import setting_descriptions

PACKAGE = Path(__file__).parents[2] / "rubert_ood"
OTHER_ROOMS = ("reports/",)
"""Its pages have tests of their own."""
LOGS = {"debug", "info", "warning", "error", "exception", "critical", "say"}
MAX_WORDS = 20
MAX_COLONS = 3
"""File, row and column stand before what is wrong with them."""
HOLE = "{}"
PERCENT = re.compile(r"%[0-9.]*[a-z]")
BETWEEN = re.compile(r"(?<=[.?!])\s+(?=[A-Z0-9{`]|\w+: )")
"""Where a sentence ends; one on a value of a setting begins with `value: `."""
BANNED = {
    r"\b(is|was) no\b": "say `is not a`, or what there is",
    r"\(e?s\)": "use count_of",
    r";": "make two sentences",
    r"\s$|^\s": "no blank at an end",
    r"\.$": "no full stop at the end: messages stand inside others",
    r"<class|default factory": "no types of Python",
    r"\bits? (is|are) gone on\b|\bfar ones\b|\bshall\b": "plain English",
}


def text_of(node: ast.AST) -> str | None:
    """Return a text as it stands in the source, with holes; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return PERCENT.sub(HOLE, node.value)
    if isinstance(node, ast.JoinedStr):
        parts = node.values
        return "".join(
            [text_of(p) if isinstance(p, ast.Constant) else HOLE for p in parts]
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or HOLE) + (text_of(node.right) or HOLE)
    return None


def is_told(node: ast.AST) -> bool:
    """Say whether a call makes an error or a line of the log."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in LOGS or node.func.attr.endswith("Error")
    return isinstance(node.func, ast.Name) and node.func.id.endswith("Error")


def messages_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each message in a module."""
    for node in ast.walk(ast.parse(source)):
        for argument in node.args[:2] if is_told(node) else []:
            text = text_of(argument)
            if text is not None and " " in text.strip():
                yield argument.lineno, text


def all_messages() -> dict[str, str]:
    """Return the messages of the package by place."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if not name.startswith(OTHER_ROOMS):
            for line, text in messages_of(path.read_text(encoding="utf-8")):
                found[f"{name}:{line}"] = text
    return found


def all_descriptions() -> dict[str, str]:
    """Return what `--help` says of each setting, of each job."""
    found = {}
    for verb, job in VERBS.items():
        settings: type[JobSettings] = job.settings
        for name, text in setting_descriptions(settings):
            found[f"{verb} --{name}"] = text
    return found


def faults(text: str) -> list[str]:
    """Return what is wrong with the English of a text."""
    found = []
    for sentence in BETWEEN.split(text):
        words = sentence.split()
        if len(words) > MAX_WORDS:
            found.append(f"{len(words)} words: {sentence}")
    if text.count(": ") > MAX_COLONS:
        found.append(f"{text.count(': ')} colons")
    found += [why for pattern, why in BANNED.items() if re.search(pattern, text)]
    return found


def wrong(texts: dict[str, str]) -> dict[str, list[str]]:
    """Return the places whose text has faults."""
    judged = {place: faults(text) for place, text in texts.items()}
    return {place: found for place, found in judged.items() if found}


def test_messages_are_short_plain_sentences() -> None:
    messages = all_messages()
    assert len(messages) > 400
    assert wrong(messages) == {}


def test_descriptions_of_settings_are_short_plain_sentences() -> None:
    descriptions = all_descriptions()
    assert len(descriptions) > 400
    assert [place for place, text in descriptions.items() if not text] == []
    assert wrong({place: text.rstrip(".") for place, text in descriptions.items()}) == {}


@pytest.mark.parametrize(
    ("text", "num_faults"),
    [
        ("{}: the table has no rows. Use a table with ads", 0),
        ("{}: 3 file(s) are gone; start again", 2),
        ("there is no way back.", 2),
        (" ".join(["word"] * 21), 1),
        (f"{' '.join(['word'] * 12)}. Then {' '.join(['more'] * 12)}", 0),
    ],
)
def test_faults_of_a_text_are_counted(text: str, num_faults: int) -> None:
    assert len(faults(text)) == num_faults


def test_messages_of_a_source_have_holes_for_values() -> None:
    source = 'raise InputError(f"{uri}: no {kind} here")\nlog.info("%d of %s", 1, "x")\n'
    assert list(messages_of(source)) == [(1, "{}: no {} here"), (2, "{} of {}")]

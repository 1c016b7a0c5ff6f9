"""The page of all settings: of each verb, and of the groups that several verbs share."""

import re
import types
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rubert_ood.cli import VERBS
from rubert_ood.settings import Group

HEAD = """# Settings

A setting comes from a flag (`--gate.max_ood_rate 0.1`), else from the environment
(`RUBERT_OOD_GATE__MAX_OOD_RATE=0.1`), else from the YAML file of `--config`, else it has its
default. A list is `a,b`. A switch is `--x` or `--no-x`. Dates are YYYY-MM-DD.
`rubert-ood VERB --help` prints the same.
"""
KINDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "switch",
    date: "date",
}
UNITS = {
    "_s": "seconds",
    "_mb": "MB",
    "_rows": "ads",
    "_fraction": "share, 0 to 1",
    "_rate": "share, 0 to 1",
    "_share": "share, 0 to 1",
    "_epochs": "epochs",
    "num_train": "ads",
    "num_score": "ads",
    "token_budget": "tokens",
    "max_length": "tokens",
    "stride": "tokens",
    "max_windows": "windows",
    "_shards": "shards",
    "_files": "files",
    "seeds": "trainings",
    "patience": "epochs",
    "_workers": "workers",
    "_per_worker": "CPUs",
    "batch_size": "ads",
}
"""Unit by the end of the name; a rate of learning is none of an event."""
WITHOUT_UNIT = {"learning_rate"}
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def settings_page() -> str:
    """Return every verb with its settings, then every group of settings once."""
    groups: dict[str, type[BaseModel]] = {}
    lines = [HEAD]
    for name, verb in VERBS.items():
        lines += [f"## {name}\n", f"{paragraph(verb.settings)}\n"]
        lines += table(verb.settings, groups)
    lines.append("## Groups\n")
    seen = 0
    while seen < len(groups):  # a group may bring others
        model = list(groups.values())[seen]
        seen += 1
        lines += [f"### {title(model)}\n", f"{paragraph(model)}\n"]
        lines += table(model, groups)
    return "\n".join(lines)


def table(model: type[BaseModel], groups: dict[str, type[BaseModel]]) -> list[str]:
    """Return the table of the settings of a model; note the groups that it has."""
    lines = ["| setting | kind, unit | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if (group := group_of(field.annotation)) is None:
            lines.append(row(name, field))
            continue
        groups[group.__name__] = group
        text = f"[{title(group)}](#{anchor(group)})"
        lines.append(f"| `{name}.*` | group | | {text} {cell(field.description or '')} |")
    return [*lines, ""]


def row(name: str, field: FieldInfo) -> str:
    """Return a setting as a row: name, kind with unit and limits, default, meaning."""
    parts = [kind(field.annotation), unit(name), limits(field)]
    stated = ", ".join(part for part in parts if part)
    words = cell(field.description or "")
    return f"| `{name}` | {cell(stated)} | {default(field)} | {words} |"


def group_of(annotation: object) -> type[BaseModel] | None:
    """Return the group of settings that a field holds, if it holds one."""
    for found in (annotation, *get_args(annotation)):
        if isinstance(found, type) and issubclass(found, Group):
            return found
    return None


def kind(annotation: Any) -> str:
    """Say in words what a value is."""
    if isinstance(annotation, type) and annotation in KINDS:
        return KINDS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        words = [kind(argument) for argument in arguments if argument is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if origin in (list, tuple):
        return "list"
    return "text"


def unit(name: str) -> str:
    """Return the unit of a setting, by its name."""
    if name in WITHOUT_UNIT:
        return ""
    return next((words for end, words in UNITS.items() if name.endswith(end)), "")


def limits(field: FieldInfo) -> str:
    """Say between which values a number may lie."""
    found = []
    for limit in field.metadata:
        for name, sign in SIGNS.items():
            if (value := getattr(limit, name, None)) is not None:
                found.append(f"{sign} {value:g}")
    return ", ".join(found)


def default(field: FieldInfo) -> str:
    """Return the default as it is typed on a command line."""
    if field.is_required():
        return "**required**"
    if field.default_factory is not None:
        return field.default_factory.__name__
    value = field.default
    if value is None or value in ((), [], ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        return f"`{cell(','.join(map(str, value)))}`"
    return f"`{cell(str(value))}`"


def paragraph(model: type[BaseModel]) -> str:
    """Return what a model says of itself."""
    return " ".join((model.__doc__ or "").split())


def title(model: type[BaseModel]) -> str:
    """Return the name of a group as a heading, in words."""
    name = model.__name__.removesuffix("Settings")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def anchor(model: type[BaseModel]) -> str:
    """Return the address of a group on the page."""
    return title(model).lower().replace(" ", "-")


def cell(text: str) -> str:
    """Return a text that may stand in a cell of a table."""
    plain = " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
    return plain.replace("*", r"\*")


def names(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Yield the full name of each setting of a model."""
    for name, field in model.model_fields.items():
        group = group_of(field.annotation)
        if group is None:
            yield before + name
        else:
            yield before + name
            yield from names(group, f"{before}{name}.")

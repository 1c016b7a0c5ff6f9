"""Say in one line what is wrong with settings, wherever they come from."""

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError
from pydantic_settings.exceptions import SettingsError as SourceError

from rubert_ood.credentials import NOT_SHOWN, shown
from rubert_ood.errors import SettingsError
from rubert_ood.plain import printable
from rubert_ood.settings.kinds import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SHOULD = re.compile(r"^(Input|String|Tuple|List|Value) should")
"""How pydantic begins to say what a value must be."""


@contextlib.contextmanager
def one_line(model: type[BaseModel]) -> Iterator[None]:
    """Raise what pydantic finds wrong with such settings as a SettingsError that names each."""
    try:
        yield
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            if problem["type"] != "default_factory_not_called":
                lines.append(_line(problem, model))
        raise SettingsError(*lines) from error
    except SourceError as error:
        raise SettingsError(str(error)) from error


def expect(value: object, kind: type, name: str = "settings") -> None:
    """Raise SettingsError unless an argument of a function is of this class."""
    if not isinstance(value, kind):
        article = "True or False" if kind is bool else f"a {kind.__name__}"
        raise SettingsError(f"{name}: {shown(value)} does not fit. Use {article}")


def _line(problem: "ErrorDetails", model: type[BaseModel]) -> str:
    name = printable(".".join([str(part) for part in problem["loc"]]))
    if problem["type"] == "missing":
        what = _what_it_is(name, model)
        return f"{name}: missing. Pass --{name}, or set it in the YAML file{what}"
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such setting{_hint(name, model)}. `--help` lists them"
    if problem["type"].startswith("model_") and problem["input"] is None:
        return f"{name}: the group is empty. Set something in it, or leave the line out"
    message = _message(problem)
    if isinstance(
        problem["input"], dict | BaseModel
    ):  # of a group: it names its settings
        if not name or message.startswith(f"{name}."):
            return message
        return f"{name}: {message}"
    got = shown(problem["input"])
    if not name:
        return message
    if got == NOT_SHOWN:
        return f"{name}: {message}"
    return f"{name}: {message} (got {got})"


def _message(problem: "ErrorDetails") -> str:
    if problem["type"] in ("tuple_type", "list_type"):
        return "must be a list. Use [a, b]"
    return SHOULD.sub("must", problem["msg"].removeprefix("Value error, "))


def _what_it_is(name: str, model: type[BaseModel]) -> str:
    """Return the first sentence of the description of a setting, as the end of another one."""
    words = " ".join((model.model_fields[name].description or "").split())
    first = words.split(". ")[0].rstrip(".")
    return f": {first[0].lower()}{first[1:]}" if first else ""


def setting_names(
    model: type[BaseModel], prefix: str = "", *, kind: type | None = None
) -> Iterator[str]:
    """Yield the dotted names of all settings of a job, groups included, or of one kind only."""
    for name, field in model.model_fields.items():
        if kind in (None, field.annotation):
            yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_names(field.annotation, f"{prefix}{name}.", kind=kind)


def setting_descriptions(
    model: type[BaseModel], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield the dotted name of each setting of a job with its description, groups left out."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_descriptions(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", " ".join((field.description or "").split())


def _hint(name: str, model: type[BaseModel]) -> str:
    """Name the setting that is most like it: the same name elsewhere, or a similar one."""
    names = list(setting_names(model))
    group, _, last = name.rpartition(".")
    elsewhere = [known for known in names if known.rpartition(".")[2] == last]
    if elsewhere:
        return f" (did you mean {elsewhere[0]}?)"
    beside = [known for known in names if known.rpartition(".")[0] == group]
    return nearest(name, beside) or nearest(name, names)

"""Load the settings of a job, and say in one line what is wrong with them."""

import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import CliApp
from pydantic_settings.exceptions import SettingsError as SourceError

from rubert_ood.credentials import NOT_SHOWN, shown
from rubert_ood.errors import SettingsError
from rubert_ood.plain import printable
from rubert_ood.progress import StepLog
from rubert_ood.settings.base import JobSettings
from rubert_ood.settings.kinds import nearest
from rubert_ood.settings.renamed import moved_flags, old_names
from rubert_ood.settings.sources import ENV_PREFIX, WholeTexts, refuse, variable_name

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

log = StepLog("settings")

Settings = TypeVar("Settings", bound=JobSettings)

OTHER_VARIABLES = ("RUBERT_OOD_RETRY_S", "RUBERT_OOD_BUCKET_OWNER")
"""Variables of the storage, which every process of a job reads by itself."""


def load_settings(model: type[Settings], arguments: list[str], *, program: str) -> Settings:
    """Build the settings of a job from flags, environment and the YAML file.

    Raises SettingsError with one line per wrong setting; `--help` prints every setting and exits.
    """
    configured = _of_program(model, program)
    source = WholeTexts(configured)
    source.root_parser.usage = f"%(prog)s [--SETTING VALUE ...]{_positional(model)}"
    source.root_parser.error = functools.partial(refuse, source.root_parser)
    try:
        flags = moved_flags(model, arguments)
        loaded: Settings = CliApp.run(
            configured, cli_args=flags, cli_settings_source=source
        )
    except ValidationError as error:
        problems = [
            problem
            for problem in error.errors()
            if problem["type"] != "default_factory_not_called"
        ]
        raise SettingsError(
            "; ".join([_line(problem, model) for problem in problems])
        ) from error
    except SourceError as error:
        raise SettingsError(printable(str(error))) from error
    _warn_of_unknown_variables()
    return loaded


@functools.cache
def _of_program(model: type[Settings], program: str) -> type[Settings]:
    """Derive the model that names the program in its help."""
    return type(model.__name__, (model,), {"__doc__": model.__doc__}, cli_prog_name=program)


def _positional(model: type[JobSettings]) -> str:
    """Say what stands on the command line without a flag."""
    return " [TEXTS ...]" * ("texts" in model.model_fields) + " A B" * (
        "a_uri" in model.model_fields
    )


def _line(problem: "ErrorDetails", model: type[BaseModel]) -> str:
    name = printable(".".join([str(part) for part in problem["loc"]]))
    if problem["type"] == "missing":
        return f"{name}: missing; give --{name} or set it in the YAML file"
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such setting{_hint(name, model)}; `--help` lists them"
    if problem["type"].startswith("model_") and problem["input"] is None:
        return f"{name}: nothing is set in this group; set something in it, or leave the line out"
    message = problem["msg"].removeprefix("Value error, ")
    got = shown(problem["input"])
    return (
        f"{name}: {message}" + (f" (got {got})" if got != NOT_SHOWN else "")
        if name
        else message
    )


def setting_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings of a job, groups included."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_names(field.annotation, f"{prefix}{name}.")


def _hint(name: str, model: type[BaseModel]) -> str:
    """Name the setting that is most like it: the same name elsewhere, or a similar one."""
    names = list(setting_names(model))
    group, _, last = name.rpartition(".")
    elsewhere = [known for known in names if known.rpartition(".")[2] == last]
    if elsewhere:
        return f" (did you mean {elsewhere[0]}?)"
    beside = [known for known in names if known.rpartition(".")[0] == group]
    return nearest(name, beside) or nearest(name, names)


def _warn_of_unknown_variables() -> None:
    """Name the RUBERT_OOD_* variables that no job reads: one environment serves several jobs, a
    slip serves none."""
    known = set(OTHER_VARIABLES)
    for model in _jobs(JobSettings):
        known.update(variable_name(name) for name in setting_names(model))
    older = {variable_name(name) for name in old_names()}
    older |= {variable_name(name.partition(".")[0]) for name in old_names()}
    for variable in sorted(os.environ):
        name = variable.upper()
        if name.startswith(ENV_PREFIX) and name not in known | older:
            hint = nearest(name, known)
            log.warning("%s: no effect, no job has such a setting%s", variable, hint)


def _jobs(model: type[JobSettings]) -> Iterator[type[JobSettings]]:
    for job in model.__subclasses__():
        yield job
        yield from _jobs(job)

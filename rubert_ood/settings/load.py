"""Load the settings of a job, and say in one line what is wrong with them."""

import functools
import inspect
import os
from collections.abc import Iterator
from typing import TypeVar

from pydantic_settings import CliApp

from rubert_ood.progress import StepLog
from rubert_ood.settings.base import JobSettings
from rubert_ood.settings.kinds import nearest
from rubert_ood.settings.problems import one_line, setting_names
from rubert_ood.settings.renamed import (
    SWITCHES,
    idle,
    moved_flags,
    old_names,
    renamed,
)
from rubert_ood.settings.sources import (
    ENV_PREFIX,
    WHOLE,
    Flags,
    refuse,
    variable_name,
)
from rubert_ood.settings.switches import plain_switches

log = StepLog("settings")

Settings = TypeVar("Settings", bound=JobSettings)

OTHER_VARIABLES = (
    "RUBERT_OOD_RETRY_S",
    "RUBERT_OOD_BUCKET_OWNER",
    "RUBERT_OOD_UI_TOKEN",
    "RUBERT_OOD_NOTIFY_URL",
    "RUBERT_OOD_SIGNING_PASSWORD",
)
"""Variables of the storage, which every process of a job reads by itself, and secrets."""


def load_settings(
    model: type[Settings], arguments: list[str], *, program: str
) -> Settings:
    """Build the settings of a job from flags, environment and the YAML file.

    Raises SettingsError with one line per wrong setting; `--help` prints every setting and exits.
    """
    configured = _of_program(model, program)
    source = Flags(configured)
    source.root_parser.usage = f"%(prog)s [--SETTING VALUE ...]{_positional(model)}"
    source.root_parser.error = functools.partial(refuse, source.root_parser)
    with one_line(model):
        switches = (*SWITCHES, *setting_names(model, kind=bool))
        has_texts = WHOLE in model.model_fields
        words = plain_switches(arguments, switches, positional=has_texts)
        flags = moved_flags(model, words)
        loaded: Settings = CliApp.run(
            configured, cli_args=flags, cli_settings_source=source
        )
    _warn_of_idle_variables(model)
    return loaded


@functools.cache
def _of_program(model: type[Settings], program: str) -> type[Settings]:
    """Derive the model that names the program in its help."""
    said = {"__doc__": inspect.getdoc(model)}
    return type(model.__name__, (model,), said, cli_prog_name=program)


def _positional(model: type[JobSettings]) -> str:
    """Say what stands on the command line without a flag."""
    return (
        " [TEXTS ...]" * ("texts" in model.model_fields)
        + " A B" * ("a_uri" in model.model_fields)
        + " [JOB ...]" * ("job_words" in model.model_fields)
    )


def _warn_of_idle_variables(model: type[JobSettings]) -> None:
    """Name the RUBERT_OOD_* variables without effect: those that only other jobs read in one line,
    since one environment serves several; a slip serves none."""
    known = {name for job in _jobs(JobSettings) for name in setting_names(job)}
    ours = _variables([*setting_names(model), *renamed(model), *idle(model)])
    ours.update(OTHER_VARIABLES)
    others = _variables([*known, *old_names()])
    names = [name.upper() for name in sorted(os.environ)]
    without = [name for name in names if name.startswith(ENV_PREFIX) and name not in ours]
    of_others = [name for name in without if name in others]
    if of_others:
        log.info("%s: this job ignores it", ", ".join(of_others))
    for name in without:
        if name not in others:
            hint = nearest(name, map(variable_name, known), prefix=ENV_PREFIX)
            log.warning(
                "%s: every job ignores it, since the setting does not exist%s", name, hint
            )


def _variables(names: list[str]) -> set[str]:
    """Return the variables of some settings, and of the groups that they lie in."""
    groups = {name.partition(".")[0] for name in names}
    return {variable_name(name) for name in groups.union(names)}


def _jobs(model: type[JobSettings]) -> Iterator[type[JobSettings]]:
    for job in model.__subclasses__():
        yield job
        yield from _jobs(job)

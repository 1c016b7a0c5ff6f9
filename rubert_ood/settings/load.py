"""Load the settings of a job from flags, environment and the YAML file."""

import functools
import os
from collections.abc import Iterator
from typing import TypeVar

from pydantic_settings import CliApp

from rubert_ood.progress import StepLog
from rubert_ood.settings.base import JobSettings
from rubert_ood.settings.kinds import nearest
from rubert_ood.settings.problems import one_line, setting_names
from rubert_ood.settings.renamed import moved_flags, old_names
from rubert_ood.settings.sources import ENV_PREFIX, WholeTexts, refuse, variable_name

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
    with one_line(model):
        flags = moved_flags(model, arguments)
        loaded: Settings = CliApp.run(
            configured, cli_args=flags, cli_settings_source=source
        )
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

"""Load the settings of a job, and say in one line what is wrong with them."""

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import CliApp
from pydantic_settings.exceptions import SettingsError as SourceError

from rubert_ood.errors import SettingsError
from rubert_ood.settings.base import JobSettings
from rubert_ood.settings.sources import WholeTexts

Settings = TypeVar("Settings", bound=JobSettings)


def load_settings(model: type[Settings], arguments: list[str], *, program: str) -> Settings:
    """Build the settings of a job from flags, environment and the YAML file.

    Raises SettingsError with one line per wrong setting; `--help` prints every setting and exits.
    """
    configured = type(model.__name__, (model,), {"__doc__": model.__doc__}, cli_prog_name=program)
    source = WholeTexts(configured)
    source.root_parser.usage = f"%(prog)s [--SETTING VALUE ...]{_positional(model)}"
    try:
        return CliApp.run(configured, cli_args=arguments, cli_settings_source=source)
    except ValidationError as error:
        raise SettingsError("; ".join(_line(problem) for problem in error.errors())) from error
    except SourceError as error:
        raise SettingsError(str(error)) from error


def _positional(model: type[JobSettings]) -> str:
    """Say what stands on the command line without a flag."""
    return " [TEXTS ...]" * ("texts" in model.model_fields) + " A B" * ("a_uri" in model.model_fields)


def _line(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{name}: missing; give --{name} or set it in the YAML file"
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such setting; `--help` lists them"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {message} (got {problem['input']!r})" if name else message

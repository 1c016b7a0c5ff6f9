"""Where settings come from: the YAML file, the environment and the command line."""

import argparse
import csv
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, get_origin

from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
)

from rubert_ood.credentials import shown
from rubert_ood.errors import SettingsError
from rubert_ood.plain import printable
from rubert_ood.settings import renamed
from rubert_ood.settings.help import explanation, placeholder
from rubert_ood.settings.kinds import nearest
from rubert_ood.settings.yaml_file import read_yaml

ENV_PREFIX = "RUBERT_OOD_"
WHOLE = "texts"
"""The setting whose texts are taken as they are: ads have commas."""


def variable_name(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{ENV_PREFIX}{name.replace('.', '__')}".upper()


class Arguments(PydanticBaseSettingsSource):
    """Keyword arguments."""

    def __init__(
        self, settings_cls: type[BaseSettings], given: Callable[[], dict[str, Any]]
    ) -> None:
        super().__init__(settings_cls)
        self._given = given

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Never called: this source gives all at once."""
        raise NotImplementedError  # this source yields all of them at once

    def __call__(self) -> dict[str, Any]:
        """Return what was given in Python or as flags, under the names of today."""
        return renamed.moved(self.settings_cls, self._given())


class ConfigFile(PydanticBaseSettingsSource):
    """The YAML file named by `--config` or RUBERT_OOD_CONFIG; local or s3://."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Never called: this source gives all at once."""
        raise NotImplementedError  # this source yields the whole file at once

    def __call__(self) -> dict[str, Any]:
        """Return what the file says, under the names of today."""
        uri = self.current_state.get("config")
        return renamed.moved(self.settings_cls, read_yaml(uri)) if uri else {}


class Environment(EnvSettingsSource):
    """RUBERT_OOD_* variables. Lists are written a,b as in flags, or as JSON; groups may be given
    whole, as JSON."""

    def __call__(self) -> dict[str, Any]:
        """Return what the variables say, under the names of today."""
        values = super().__call__() | self._by_old_names()
        return renamed.moved(self.settings_cls, values, variable_name)

    def _by_old_names(self) -> dict[str, Any]:
        """Return what stands in variables of old names whose group the job has no more, or that had
        none."""
        found: dict[str, Any] = {}
        for old in renamed.renamed(self.settings_cls):
            name, _, last = old.partition(".")
            if name in self.settings_cls.model_fields:
                continue
            value = self.env_vars.get(variable_name(name).lower())
            if last and value is not None:
                value = self.decode_complex_value(name, FieldInfo(annotation=dict), value)
                is_group = isinstance(value, dict)
                found[name] = value | found.get(name, {}) if is_group else value
            elif value is not None:
                found[name] = value
            value = self.env_vars.get(variable_name(old).lower())
            if last and value is not None and isinstance(found.get(name, {}), dict):
                found[name] = found.get(name, {}) | {last: value}
        return found

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Read a list written a,b or as JSON, a group as JSON."""
        is_list = get_origin(field.annotation) in (tuple, list)
        if is_list and not value.lstrip().startswith("["):
            return [value] if field_name == WHOLE else _cells(value)
        try:
            return json.loads(value, object_pairs_hook=_each_once)
        except ValueError as error:
            kind = (
                "a,b nor a JSON list"
                if is_list
                else 'a JSON object, such as {"NAME": VALUE}'
            )
            named = f"neither {kind}" if is_list else f"not {kind}"
            raise SettingsError(
                f"{self._variable(field_name, value)}: {named} ({error})"
            ) from error

    def _variable(self, field_name: str, value: str) -> str:
        """Return the name of the variable that holds a value; nested ones end with the field's
        name."""
        for name, held in os.environ.items():
            if held == value and name.lower().endswith(field_name.lower()):
                return name
        return f"{self.env_prefix}{field_name}".upper()


def _cells(text: str) -> list[str]:
    """Cut a text at its commas, but not inside double quotes."""
    rows = list(csv.reader([text], skipinitialspace=True))
    return [cell.strip() for cell in rows[0]] if rows else []


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name is given twice")
    return content


class Flags(CliSettingsSource[Any]):
    """Flags, with help in plain words. Positional texts stay as they are: the base class would cut
    them at commas."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        for group in self.root_parser._action_groups:
            group.description = group.description and inspect.cleandoc(group.description)

    def _help_format(
        self, field_name: str, field_info: FieldInfo, model_default: Any, *_others: Any
    ) -> str:
        self._shown = field_name  # its placeholder is asked for next
        return explanation(field_name, field_info, model_default).replace("%", "%%")

    def _metavar_format(self, obj: Any) -> str:
        return placeholder(self._shown, obj)

    def _merge_parsed_list(self, parsed_list: list[str], field_name: str) -> str:
        if field_name == WHOLE:
            return json.dumps(parsed_list, ensure_ascii=False)
        return super()._merge_parsed_list(parsed_list, field_name)


class PlainParser(argparse.ArgumentParser):
    """argparse whose complaints echo neither control characters nor the values of flags."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2, credentials not shown."""
        refuse(self, message)


def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """Print usage and complaint, exit with 2. Of unknown flags only the names are shown, with
    the nearest known one."""
    prefix, found, words = message.partition("unrecognized arguments: ")
    if found and not prefix:
        names = [word.partition("=")[0] for word in words.split() if word.startswith("-")]
        known = [
            option for option in parser._option_string_actions if option.startswith("--")
        ]
        hints = [nearest(name, known, prefix="--") for name in names]
        listed = [f"{name}{hint}" for name, hint in zip(names, hints, strict=True)]
        message = found + (
            " ".join(listed)
            if listed
            else (
                "a value without its flag. Write --SETTING VALUE, or --x and"
                " --no-x for a switch"
            )
        )
    elif "invalid choice: " in message:
        prefix, found, words = message.partition("invalid choice: ")
        chosen, choices, listed_choices = words.partition(" (choose from ")
        message = f"{prefix}{found}{shown(chosen[1:-1])}{choices}{listed_choices}"
    parser.print_usage(sys.stderr)
    parser.exit(2, f"{parser.prog}: error: {printable(message)}\n")

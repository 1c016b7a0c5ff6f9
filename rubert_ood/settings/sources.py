"""Where settings come from, beside the environment: the YAML file and the command line."""

import json
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import CliSettingsSource, PydanticBaseSettingsSource

from rubert_ood import storage
from rubert_ood.errors import InputError, SettingsError


class ConfigFile(PydanticBaseSettingsSource):
    """The YAML file named by `--config` or RUBERT_OOD_CONFIG; local or s3://."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # this source yields the whole file at once

    def __call__(self) -> dict[str, Any]:
        uri = self.current_state.get("config")
        if not uri:
            return {}
        import yaml

        try:
            content = yaml.safe_load(storage.read_bytes(uri)) or {}
        except InputError as error:
            raise SettingsError(f"config: {error}") from error
        except yaml.YAMLError as error:
            raise SettingsError(f"{uri}: not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise SettingsError(f"{uri}: expected `setting: value` lines, found {type(content).__name__}")
        return {str(key): value for key, value in content.items()}


class WholeTexts(CliSettingsSource[Any]):
    """Flags, with the positional texts as they are: the base class would cut them at commas."""

    def _merge_parsed_list(self, parsed_list: list[str], field_name: str) -> str:
        if field_name == "texts":
            return json.dumps(parsed_list, ensure_ascii=False)
        return super()._merge_parsed_list(parsed_list, field_name)

"""What all jobs have in common."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from rubert_ood.settings.kinds import checked
from rubert_ood.settings.problems import one_line
from rubert_ood.settings.sources import (
    ENV_PREFIX,
    WHOLE,
    Arguments,
    ConfigFile,
    Environment,
)

PLAIN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class JobSettings(BaseSettings):
    """Base of the settings of a job."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        cli_implicit_flags=True,
        cli_use_class_docs_for_groups=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_parse_none_str="null",
    )

    config: str | None = None
    """YAML file with the settings of this job."""

    def __init__(self, **values: Any) -> None:  # noqa: ANN401
        """Take what is given, then the environment and the file; SettingsError, one line, names
        each setting that is wrong."""
        with one_line(type(self)):
            super().__init__(**values)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_value(cls, value: object, info: ValidationInfo) -> object:
        return value if info.field_name == WHOLE else checked(info.field_name, value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags outweigh the environment, that outweighs the file."""
        return (
            Arguments(settings_cls, init_settings),
            Environment(settings_cls),
            ConfigFile(settings_cls),
        )


class RayJobSettings(JobSettings):
    """Base of the jobs that run on Ray."""

    ray_address: str | None = None
    """Ray cluster to join (`auto`, HOST:6379 or `ray://HOST:10001`). Default: RAY_ADDRESS, else a
    new cluster on this machine."""


class SignedSettings(JobSettings):
    """Base of the jobs that can ask for a signed bundle."""

    require_signature: str | None = Field(None, min_length=1)
    """Local path of a public key, an elliptic-curve key in PEM form. A bundle that its owner has
    not signed (`rubert-ood sign`) is refused before it is loaded. Needs the extra `signing`."""


class ExecutorSettings(RayJobSettings):
    """Base of the jobs that run on Ray, or in this process alone."""

    executor: Literal["ray", "local"] = "ray"
    """ray: score shards in parallel on Ray. local: score one shard after another in this process,
    for a laptop and for tests."""

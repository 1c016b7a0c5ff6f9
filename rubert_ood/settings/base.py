"""What all jobs have in common."""

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from rubert_ood.settings.sources import ConfigFile

PLAIN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ENV_PREFIX = "RUBERT_OOD_"


class JobSettings(BaseSettings):
    """Base of the settings of a job."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_parse_none_str="null",
    )

    config: str | None = None
    """YAML file with the settings of this job."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, ConfigFile(settings_cls)


class RayJobSettings(JobSettings):
    """Base of the jobs that run on Ray."""

    ray_address: str | None = None
    """Cluster to join (`auto`, `ray://HOST:10001`). Default: RAY_ADDRESS, else a cluster on this machine."""

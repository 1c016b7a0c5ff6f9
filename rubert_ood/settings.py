"""Frozen settings, one model per job: one YAML file is one job; environment and flags override it.

Order, strongest first: flag (`--fit.threshold_quantile 0.99`), environment (`RUBERT_OOD_FIT__THRESHOLD_QUANTILE`),
the YAML file of `--config`, the default. Secrets have no place here: S3 credentials come from the AWS environment.
"""

import json
from datetime import date
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliPositionalArg,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as SourceError

from rubert_ood import storage
from rubert_ood.errors import InputError, SettingsError

PLAIN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ENV_PREFIX = "RUBERT_OOD_"
PHONE_PATTERN = r"(\+?\d[\d\-\s]{6,}\d)"
NOISE_WORDS = ("продам", "куплю", "обмен", "торг", "договор", "в наличии")


class Group(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ColumnSettings(Group):
    """Names of the columns in the ads table."""

    ad_id: str = "ad_id"
    """Unique id of an ad, text or integer; scoring only."""
    title: str | None = "title"
    """Title. Used if the table has it; a name given here explicitly must exist."""
    description: str = "description"
    """Description: the one text column that must exist."""
    category: str = "category"
    """Label; training and evaluation only."""
    city: str | None = "city"
    """City, whose names are removed from the text; training only. Used if the table has it."""


class CleanerSettings(Group):
    """What is removed from an ad before the model reads it. The bundle keeps it: scoring cleans as training did."""

    phone_pattern: str = PHONE_PATTERN
    """Regular expression of phone numbers."""
    noise_words: tuple[str, ...] = NOISE_WORDS
    """Words of every ad, removed as whole words, in any case."""
    remove_cities: bool = True
    """Remove the names of the cities seen in training."""


class SplitSettings(Group):
    """How one labelled table becomes train, valid and test."""

    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of all rows held out for the evaluation report."""
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the remaining rows that picks the checkpoint and fits T and the thresholds."""
    seed: int = 42
    """Seed of the stratified split."""


class OptimiserSettings(Group):
    """The fine-tuning loop: AdamW with linear decay."""

    learning_rate: float = Field(2e-5, gt=0)
    """Peak learning rate; 2e-5 suits a pretrained BERT, a model from scratch needs 1e-3 or so."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW weight decay; biases and layer norms are exempt."""
    batch_size: int = Field(16, gt=0)
    """Ads per worker and step."""
    eval_batch_size: int = Field(32, gt=0)
    """Ads per worker and step on valid."""
    num_epochs: int = Field(3, gt=0)
    """Passes over train; valid is measured after each."""
    warmup_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    max_length: int = Field(196, ge=8)
    """Tokens per ad, special tokens included; longer ads are cut."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient norm to which each step is clipped."""
    seed: int = 42
    """Seed of initialisation, shuffling and dropout."""


class WorkerSettings(Group):
    """The Ray Train workers."""

    num_workers: int = Field(1, gt=0)
    """DDP workers. The global batch is num_workers x batch_size."""
    use_gpu: bool = False
    """One GPU per worker with NCCL and bf16 autocast; otherwise gloo on CPU in fp32."""
    cpus_per_worker: float = Field(1, gt=0)
    """Logical CPUs, and torch threads, of each worker."""
    max_failures: int = Field(3, ge=0)
    """Restarts of the worker group, each from the newest checkpoint."""


class FitSettings(Group):
    """What the driver fits on the gathered features."""

    temperature_min: float = Field(0.5, gt=0)
    """Lower bound of the softmax temperature T."""
    temperature_max: float = Field(10.0, gt=0)
    """Upper bound of T."""
    threshold_quantile: float = Field(0.995, gt=0, lt=1)
    """Quantile of d2 on valid that becomes the threshold."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "FitSettings":
        if self.temperature_min >= self.temperature_max:
            raise ValueError("temperature_min must be below temperature_max")
        return self


class DecisionSettings(Group):
    """When an ad is out of domain, and when a label is trusted. Kept in the bundle."""

    alpha: float = Field(1.10, gt=0)
    """Factor on the d2 threshold."""
    z_thr: float = 4.0
    """Standard deviations above the mean d2 of valid."""
    ood_conf_gate: float = Field(0.75, ge=0, le=1.01)
    """An ad classified with at least this confidence is never OOD."""
    tau_other: float = Field(0.35, ge=0, le=1)
    """Below this confidence the label is Other."""
    top_k: int = Field(5, gt=0)
    """Best classes kept per ad."""


class EvaluationSettings(Group):
    """Optional extra material of the evaluation report."""

    hard_cases_uri: str | None = None
    """Table with columns text, label: hand-written ads and the label that you expect."""
    ood_uri: str | None = None
    """Table with columns text, kind: texts that are no ads of your taxonomy."""
    baseline: bool = True
    """Train TF-IDF + LinearSVC on the same split and print it beside the model."""


class GateSettings(Group):
    """What a run must satisfy to be published."""

    max_error_rate: float = Field(0.01, ge=0, le=1)
    """Rejected rows over all rows that were read."""
    max_ood_rate: float = Field(0.2, ge=0, le=1)
    """OOD ads over scored ads."""
    max_other_rate: float = Field(0.5, ge=0, le=1)
    """Ads labelled Other over scored ads."""
    max_class_shift: float = Field(0.3, ge=0, le=1)
    """Jensen-Shannon distance (base 2) between the label shares of this run and of the last published one."""
    min_rows_ratio: float = Field(0.5, ge=0)
    """Scored ads over those of the last published run."""


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


class TrainSettings(RayJobSettings):
    """Fine-tune a BERT-type model, fit T and the OOD statistics, evaluate, and write one bundle."""

    input_uri: str | None = None
    """Labelled ads, CSV or Parquet (file, folder or glob), split by `split`. Or give the next three."""
    train_uri: str | None = None
    """Labelled ads to train on."""
    valid_uri: str | None = None
    """Labelled ads that pick the checkpoint and fit T and the thresholds."""
    test_uri: str | None = None
    """Labelled ads of the evaluation report."""
    output_uri: str = "output"
    """Where bundles/VERSION and the training checkpoints go."""
    base_model: str = "DeepPavlov/rubert-base-cased"
    """BERT-type checkpoint: hub name, folder or s3:// URI. Code inside a checkpoint is never run."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the bundle, and of the training run: the same name resumes it. Default: UTC time of the start."""
    columns: ColumnSettings = ColumnSettings()
    cleaner: CleanerSettings = CleanerSettings()
    split: SplitSettings = SplitSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    workers: WorkerSettings = WorkerSettings()
    fit: FitSettings = FitSettings()
    decision: DecisionSettings = DecisionSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _one_kind_of_input(self) -> "TrainSettings":
        separate = [self.train_uri, self.valid_uri, self.test_uri]
        if bool(self.input_uri) == any(separate) or (any(separate) and not all(separate)):
            raise ValueError("give either input_uri, or all of train_uri, valid_uri and test_uri")
        return self


class EvaluateSettings(RayJobSettings):
    """Measure a bundle on labelled ads and write the report."""

    bundle_uri: str = Field(min_length=1)
    """The bundle."""
    input_uri: str = Field(min_length=1)
    """Labelled ads, CSV or Parquet; rows that the bundle was trained on make the report too good."""
    output_uri: str = "output/evaluation"
    """Where evaluation.json and evaluation.html go."""
    columns: ColumnSettings = ColumnSettings()
    evaluation: EvaluationSettings = EvaluationSettings(baseline=False)


class ScoreSettings(RayJobSettings):
    """Score a catalogue: plan, score, verify, publish, report. The same command resumes a stopped run."""

    input_uri: str = Field(min_length=1)
    """Ads, Parquet or CSV (file, folder or glob)."""
    bundle_uri: str = Field(min_length=1)
    """The bundle."""
    output_uri: str = Field(min_length=1)
    """Root of the published output: OUTPUT/run_date=.../run_id=.../part-*.parquet and OUTPUT/latest.json."""
    run_date: date = Field(default_factory=date.today)
    """Day that the run belongs to. Default: today."""
    run_id: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the run. Default: the head of the run fingerprint, so the same work has the same name."""
    columns: ColumnSettings = ColumnSettings()
    carry_columns: tuple[str, ...] = ()
    """Input columns copied to the output."""
    embedding: bool = False
    """Write the CLS vector as a float16 list."""
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    """A file that can't be read or lacks a column ends the job, or is set aside with its reason."""
    shard_rows: int = Field(20_000, gt=0)
    """Ads per shard: the unit of work, of retry and of one output part."""
    token_budget: int = Field(4096, gt=0)
    """Tokens per forward pass, padding included."""
    num_actors: int | None = Field(None, gt=0)
    """Actors that hold the model. Default: one per GPU, without GPUs one per node."""
    use_gpu: bool = False
    """Score on GPU in bf16 autocast; otherwise on CPU in fp32."""
    gate: GateSettings = GateSettings()
    publish: bool = True
    """Swap the pointer when the gate agrees."""


class VerifySettings(JobSettings):
    """Re-read a run folder and check its parts against its receipts."""

    run_uri: str = Field(min_length=1)
    """The run folder, OUTPUT/run_date=.../run_id=..."""


class PublishSettings(JobSettings):
    """Publish a verified run: apply the gate, then swap the pointer."""

    run_uri: str = Field(min_length=1)
    """The run folder, OUTPUT/run_date=.../run_id=..."""
    gate: GateSettings = GateSettings()


class PredictSettings(JobSettings):
    """Classify texts, given as arguments or one a line on standard input, and print the decision."""

    bundle_uri: str = Field(min_length=1)
    """The bundle."""
    json_lines: bool = False
    """Print one JSON object a line, for programs."""
    texts: CliPositionalArg[list[str]] = []
    """Texts to classify."""


class DemoSettings(RayJobSettings):
    """Run everything on a generated catalogue: generate, build a small BERT, train, fit, evaluate, score, publish."""

    output_uri: str = "demo"
    """Where the demo keeps its data, bundles and output."""
    num_train: int = Field(10_000, ge=2_000)
    """Labelled ads, before the split."""
    num_score: int = Field(20_000, gt=0)
    """Ads in the catalogue to score."""
    num_workers: int = Field(2, gt=0)
    """DDP workers, one CPU each."""
    num_epochs: int = Field(4, gt=0)
    """Passes over train."""
    seed: int = 42
    """Seed of everything."""


class WholeTexts(CliSettingsSource[Any]):
    """Flags, with the positional texts as they are: the base class would cut them at commas."""

    def _merge_parsed_list(self, parsed_list: list[str], field_name: str) -> str:
        if field_name == "texts":
            return json.dumps(parsed_list, ensure_ascii=False)
        return super()._merge_parsed_list(parsed_list, field_name)


Settings = TypeVar("Settings", bound=JobSettings)


def load_settings(model: type[Settings], arguments: list[str], *, program: str) -> Settings:
    """Build the settings of a job from flags, environment and the YAML file.

    Raises SettingsError with one line per wrong setting; `--help` prints every setting and exits.
    """
    configured = type(model.__name__, (model,), {"__doc__": model.__doc__}, cli_prog_name=program)
    source = WholeTexts(configured)
    source.root_parser.usage = "%(prog)s [--SETTING VALUE ...]" + " [TEXTS ...]" * ("texts" in model.model_fields)
    try:
        return CliApp.run(configured, cli_args=arguments, cli_settings_source=source)
    except ValidationError as error:
        raise SettingsError("; ".join(_line(problem) for problem in error.errors())) from error
    except SourceError as error:
        raise SettingsError(str(error)) from error


def _line(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{name}: missing; give --{name} or set it in the YAML file"
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such setting; `--help` lists them"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {message} (got {problem['input']!r})" if name else message

"""The settings of each job."""

from datetime import date
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, PydanticBaseSettingsSource, SettingsConfigDict

from rubert_ood.settings.groups import (
    CleanerSettings,
    ColumnSettings,
    DecisionSettings,
    EvaluationSettings,
    FitSettings,
    GateSettings,
    LongTextSettings,
    OptimiserSettings,
    Precision,
    SplitSettings,
    WorkerSettings,
)
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


class TrainSettings(RayJobSettings):
    """Fine-tune a BERT-type model, fit T and the OOD statistics, evaluate, and write one bundle."""

    input_uri: str | None = None
    """Labelled ads, CSV or Parquet (file, folder or glob), split by `split`. Or give the next three."""
    train_uri: str | None = None
    """Labelled ads to train on."""
    valid_uri: str | None = None
    """Labelled ads that pick the checkpoint, and fit T and the thresholds unless calibration_uri does."""
    test_uri: str | None = None
    """Labelled ads of the evaluation report."""
    calibration_uri: str | None = None
    """Labelled ads that fit T and the thresholds: recommended, since valid, which chose the checkpoint, looks better
    than new ads will. With input_uri it is split.calibration_fraction instead."""
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
    long_text: LongTextSettings = LongTextSettings()
    precision: Precision | None = None
    """Numbers that scoring computes in; T, statistics and thresholds are fitted in them. Default: bf16 with
    workers.use_gpu, else fp32. int8 (CPU) is faster, and the bundle is refused if it answers otherwise than fp32."""
    fit: FitSettings = FitSettings()
    decision: DecisionSettings = DecisionSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _one_kind_of_input(self) -> "TrainSettings":
        separate = [self.train_uri, self.valid_uri, self.test_uri]
        if bool(self.input_uri) == any(separate) or (any(separate) and not all(separate)):
            raise ValueError("give either input_uri, or all of train_uri, valid_uri and test_uri")
        if self.calibration_uri and self.input_uri:
            raise ValueError("calibration_uri goes with train_uri; with input_uri give split.calibration_fraction")
        return self

    @model_validator(mode="after")
    def _windows_advance(self) -> "TrainSettings":
        stride, max_length = self.long_text.stride, self.optimiser.max_length
        if self.long_text.mode == "chunk" and 2 * stride > max_length:
            raise ValueError(
                f"long_text.stride: {stride} is more than half of optimiser.max_length ({max_length}), so that most of "
                "an ad would be read twice; lower it"
            )
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


class TuneSettings(RayJobSettings):
    """Choose tau_other, the confidence gate and the strength of the OOD rule for a target; write a new bundle."""

    bundle_uri: str = Field(min_length=1)
    """The bundle to start from; it stays as it is."""
    input_uri: str = Field(min_length=1)
    """Labelled ads that neither trained the bundle nor chose its checkpoint. One half fits T and thresholds anew, the
    other half chooses."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the new bundle, which lies beside the old one. Default: UTC time of the start."""
    min_precision: float | None = Field(None, gt=0, lt=1)
    """Keep as many ads as possible with at least this share of right labels among the kept. Default: the largest
    macro-F1 instead, Other being a class where evaluation.ood_uri is given."""
    rule: Literal["notebook", "conformal"] | None = None
    """OOD rule of the new bundle. Default: that of the old one."""
    seed: int = 42
    """Seed of the halves."""
    columns: ColumnSettings = ColumnSettings()
    workers: WorkerSettings = WorkerSettings()
    fit: FitSettings = FitSettings()
    evaluation: EvaluationSettings = EvaluationSettings(baseline=False)


class SubheadColumnSettings(ColumnSettings):
    """Names of the columns in the ads table."""

    subcategory: str = "subcategory"
    """Finer class inside the category; ads without one are left out."""


class SubheadsSettings(RayJobSettings):
    """Train sub-heads, a finer class inside each category, on the CLS features of a bundle, and write a new version."""

    bundle_uri: str = Field(min_length=1)
    """The bundle; it stays as it is."""
    input_uri: str = Field(min_length=1)
    """Ads with category and sub-category, CSV or Parquet."""
    output_uri: str | None = None
    """Folder in which the new version is written. Default: beside the bundle."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the new version. Default: UTC time of the start."""
    columns: SubheadColumnSettings = SubheadColumnSettings()
    min_rows_per_class: int = Field(20, ge=2)
    """Sub-categories with fewer ads are left out; with less than that, the accuracy says nothing."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the ads of each category held out to measure its sub-head."""
    regularisation: float = Field(1.0, gt=0)
    """Inverse strength of the L2 penalty of the logistic regression (C of sklearn), on standardised features."""
    seed: int = 42
    """Seed of the stratified split."""


class ScoreSettings(RayJobSettings):
    """Score a catalogue: plan, score, verify, publish, report. The same command resumes a stopped run."""

    input_uri: str = Field(min_length=1)
    """Ads, Parquet or CSV (file, folder or glob)."""
    bundle_uri: str = Field(min_length=1)
    """The bundle."""
    output_uri: str = Field(min_length=1)
    """Root of the published output: OUTPUT/run_date=.../run_id=.../part-*.parquet and OUTPUT/latest.json."""
    run_date: date = Field(default_factory=date.today)
    """Day that the run belongs to. Default: today; give it where a run may pass midnight, or it cannot be resumed."""
    run_id: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the run. Default: the head of the run fingerprint, so the same work has the same name."""
    columns: ColumnSettings = ColumnSettings()
    carry_columns: tuple[str, ...] = ()
    """Input columns copied to the output."""
    embedding: bool = False
    """Write the CLS vector as a float16 list."""
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    """A file that can't be read or lacks a column ends the job, or is set aside with its reason."""
    max_failed_shards: int = Field(10, ge=0)
    """Shards that may be set aside during the run (damaged page, a text that kills its process) before it stops."""
    no_progress_timeout_s: float = Field(300, gt=0)
    """The run stops, resumable, when no shard moves for so long. More than one shard takes, and than the autoscaler."""
    shard_rows: int | None = Field(None, gt=0)
    """Ads per shard: the unit of work, of retry and of one output part. Default: 20,000 on GPU, 2,000 on CPU."""
    token_budget: int | None = Field(None, gt=0)
    """Tokens per forward pass, padding included. Default: 65,536 on GPU, 2,048 on CPU, where each thread has a
    batch of its own."""
    num_actors: int | None = Field(None, gt=0)
    """Actors that hold the model. Default: one per GPU, without GPUs one per node."""
    use_gpu: bool = False
    """Score on GPU."""
    precision: Precision | None = None
    """Numbers to compute in: those that the bundle was fitted in, others are refused. Default: the bundle's."""
    gate: GateSettings = GateSettings()
    publish: bool = True
    """Swap the pointer when the gate agrees."""
    report_texts: bool = True
    """Keep the first 200 characters of the cleaned text of the ads farthest from every class, some per shard, in
    receipts, manifest and report. Phone numbers and city names are not in it; what else is personal may be."""
    report_changes: bool = True
    """Compare with the last published run ad by ad, after publication, and show in the report which labels changed; see
    also _run/diff.html. Takes about 15 s per million ads on 2 cores. A backfill compares in any case."""


class PlanSettings(ScoreSettings):
    """Check the input of a scoring job and estimate its time. The settings are those of `score`; nothing is written."""

    calibration_s: float = Field(10, ge=0)
    """Seconds of scoring, on this machine, that the estimate rests on; loading comes on top. 0: no estimate."""


class BackfillSettings(ScoreSettings):
    """Score a range of past days again, compare each with its run before, publish by gate. Settings as for `score`."""

    from_date: date
    """First day to score again."""
    to_date: date
    """Last day, inclusive."""
    input_uri: str = Field(min_length=1)
    """Ads of a day; {run_date} stands for the day, as in s3://BUCKET/ads/{run_date}/."""

    @model_validator(mode="after")
    def _a_range_of_days(self) -> "BackfillSettings":
        if "run_date" in self.model_fields_set:
            raise ValueError("run_date: a backfill takes from_date and to_date instead")
        if self.to_date < self.from_date:
            raise ValueError(f"to_date {self.to_date} is before from_date {self.from_date}")
        if self.to_date > self.from_date and "{run_date}" not in self.input_uri:
            raise ValueError("input_uri: several days with one input; write {run_date} where the day stands in it")
        return self


class DiffSettings(RayJobSettings):
    """Compare two runs ad by ad, or two bundles on the same ads; write diff.json and diff.html."""

    a_uri: CliPositionalArg[str] = ""
    """What was before: a run folder, a root of published output (its published run), or a bundle."""
    b_uri: CliPositionalArg[str] = ""
    """What it is compared with, of the same kind."""
    input_uri: str | None = None
    """Ads that both bundles score, Parquet or CSV; only for bundles."""
    output_uri: str = "output/diff"
    """Where diff.json and diff.html go, and with bundles their runs, under a/ and b/."""
    columns: ColumnSettings = ColumnSettings()
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    """With bundles: a file that can't be read ends the job, or is set aside with its reason."""
    num_actors: int | None = Field(None, gt=0)
    """With bundles: actors that hold the model. Default: one per GPU, without GPUs one per node."""
    use_gpu: bool = False
    """With bundles: score on GPU."""

    @model_validator(mode="after")
    def _two_things(self) -> "DiffSettings":
        if not self.a_uri or not self.b_uri:
            raise ValueError("name two runs or two bundles: `diff A B`, or a_uri and b_uri in the YAML file")
        return self


class VerifySettings(JobSettings):
    """Re-read a run folder and check its parts against its receipts."""

    run_uri: str = Field(min_length=1)
    """The run folder, OUTPUT/run_date=.../run_id=..."""


class PublishSettings(JobSettings):
    """Publish a verified run: apply the gate, then swap the pointer."""

    run_uri: str = Field(min_length=1)
    """The run folder, OUTPUT/run_date=.../run_id=..."""
    gate: GateSettings = GateSettings()
    force: str | None = Field(None, min_length=1)
    """Publish although the gate refuses, or after a rollback, for this reason; the manifest keeps it."""


class RollbackSettings(JobSettings):
    """Let the pointer name the run that was published before the present one."""

    output_uri: str = Field(min_length=1)
    """Root of the published output, where latest.json lies."""
    reason: str = "no reason given"
    """Why; the manifest of the run that is taken back keeps it."""


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

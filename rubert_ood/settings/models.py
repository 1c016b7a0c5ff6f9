"""The settings of the jobs that make, measure or use a bundle."""

from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg

from rubert_ood.settings.base import PLAIN_NAME, ExecutorSettings, JobSettings, RayJobSettings
from rubert_ood.settings.groups import (
    CleanerSettings,
    ColumnSettings,
    DecisionSettings,
    EvaluationSettings,
    FitSettings,
    LongTextSettings,
    OptimiserSettings,
    Precision,
    SplitSettings,
    WorkerSettings,
)


class TrainSettings(RayJobSettings):
    """Fine-tune a BERT-type model, fit T and the OOD statistics, evaluate, and write one bundle."""

    input_uri: str | None = None
    """Labelled ads, CSV or Parquet (file, folder or glob), split by `split`. Or give the next
    three."""
    train_uri: str | None = None
    """Labelled ads to train on."""
    valid_uri: str | None = None
    """Labelled ads that pick the checkpoint, and fit T and the thresholds unless calibration_uri
    does."""
    test_uri: str | None = None
    """Labelled ads of the evaluation report."""
    calibration_uri: str | None = None
    """Labelled ads that fit T and the thresholds: recommended, since valid, which chose the
    checkpoint, looks better than new ads will. With input_uri it is split.calibration_fraction
    instead."""
    output_uri: str = "output"
    """Where bundles/VERSION and the training checkpoints go."""
    base_model: str = "DeepPavlov/rubert-base-cased"
    """BERT-type checkpoint: hub name, folder or s3:// URI. Code inside a checkpoint is never
    run."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the bundle, and of the training run: the same name resumes it. Default: UTC time of
    the start."""
    columns: ColumnSettings = ColumnSettings()
    cleaner: CleanerSettings = CleanerSettings()
    split: SplitSettings = SplitSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    workers: WorkerSettings = WorkerSettings()
    long_text: LongTextSettings = LongTextSettings()
    precision: Precision | None = None
    """Numbers that scoring computes in; T, statistics and thresholds are fitted in them. Default:
    bf16 with workers.use_gpu, else fp32. int8 (CPU) is faster, and the bundle is refused if it
    answers otherwise than fp32."""
    fit: FitSettings = FitSettings()
    decision: DecisionSettings = DecisionSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _one_kind_of_input(self) -> "TrainSettings":
        separate = [self.train_uri, self.valid_uri, self.test_uri]
        if bool(self.input_uri) == any(separate) or (any(separate) and not all(separate)):
            raise ValueError("give either input_uri, or all of train_uri, valid_uri and test_uri")
        if self.calibration_uri and self.input_uri:
            raise ValueError(
                "calibration_uri goes with train_uri; with input_uri give"
                " split.calibration_fraction"
            )
        return self

    @model_validator(mode="after")
    def _windows_advance(self) -> "TrainSettings":
        stride, max_length = self.long_text.stride, self.optimiser.max_length
        if self.long_text.mode == "chunk" and 2 * stride > max_length:
            raise ValueError(
                f"long_text.stride: {stride} is more than half of optimiser.max_length"
                f" ({max_length}), so that most of an ad would be read twice; lower it"
            )
        return self


class EvaluateSettings(ExecutorSettings):
    """Measure a bundle on labelled ads and write the report."""

    bundle_uri: str = Field(min_length=1)
    """The bundle."""
    input_uri: str = Field(min_length=1)
    """Labelled ads, CSV or Parquet; rows that the bundle was trained on make the report too
    good."""
    output_uri: str = "output/evaluation"
    """Where evaluation.json and evaluation.html go."""
    columns: ColumnSettings = ColumnSettings()
    evaluation: EvaluationSettings = EvaluationSettings(baseline=False)


class TuneSettings(ExecutorSettings):
    """Choose tau_other, the confidence gate and the strength of the OOD rule for a target; write a
    new bundle."""

    bundle_uri: str = Field(min_length=1)
    """The bundle to start from; it stays as it is."""
    input_uri: str = Field(min_length=1)
    """Labelled ads that neither trained the bundle nor chose its checkpoint. One half fits T and
    thresholds anew, the other half chooses."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the new bundle, which lies beside the old one. Default: UTC time of the start."""
    min_precision: float | None = Field(None, gt=0, lt=1)
    """Keep as many ads as possible with at least this share of right labels among the kept.
    Default: the largest macro-F1 instead, Other being a class where evaluation.ood_uri is given."""
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


class SubheadsSettings(ExecutorSettings):
    """Train sub-heads, a finer class inside each category, on the CLS features of a bundle, and
    write a new version."""

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
    """Sub-categories with fewer ads are left out; with less than that, the accuracy says
    nothing."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the ads of each category held out to measure its sub-head."""
    regularisation: float = Field(1.0, gt=0)
    """Inverse strength of the L2 penalty of the logistic regression (C of sklearn), on standardised
    features."""
    seed: int = 42
    """Seed of the stratified split."""


class PredictSettings(JobSettings):
    """Classify texts, given as arguments or one a line on standard input; print the decision."""

    bundle_uri: str = Field(min_length=1)
    """The bundle."""
    json_lines: bool = False
    """Print one JSON object a line, for programs."""
    texts: CliPositionalArg[list[str]] = Field([])
    """Texts to classify."""


class DemoSettings(RayJobSettings):
    """Run everything on a generated catalogue: generate, build a small BERT, train, fit, evaluate,
    score, publish."""

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

"""The settings of the jobs that make or measure a bundle."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from rubert_ood.settings.base import PLAIN_NAME, ExecutorSettings, RayJobSettings
from rubert_ood.settings.kinds import Seed
from rubert_ood.settings.optimiser import OptimiserSettings, RecipeName
from rubert_ood.settings.promotion import PromotionSettings
from rubert_ood.settings.shared import (
    ColumnSettings,
    DecisionSettings,
    EvaluationSettings,
    FeatureComputeSettings,
    Group,
    Precision,
    TextSettings,
)

PHONE_PATTERN = r"(\+?\d[\d\-\s]{6,}\d)"
NOISE_WORDS = ("продам", "куплю", "обмен", "торг", "договор", "в наличии")


class CleanerSettings(Group):
    """What is removed from an ad before the model reads it. The bundle keeps it: scoring cleans as
    training did."""

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
    calibration_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of the remaining rows that fits T and the thresholds. 0: valid fits them, although it
    chose the checkpoint and so looks better than new ads will. 0.1 is recommended where there are
    ads enough."""
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the rows then remaining that picks the checkpoint."""
    seed: Seed = 42
    """Seed of the split."""
    max_stratified_rows: int = Field(5_000_000, gt=0)
    """Rows up to which each class is split in these shares, which takes about 200 bytes a row on
    one node. A larger table is split by the hash of seed and id of each ad; of its text, in files
    without ids."""


class FitSettings(Group):
    """What the driver fits on the gathered features."""

    temperature_of: Literal["confidence", "classes"] = "confidence"
    """What T makes honest. confidence: how often the best class is right, which scoring writes and
    decides by. classes: the probability of every class, as the notebook has it and `recipe:
    notebook` takes it; ads with a wrong label then spoil the confidence of all."""
    temperature_min: float = Field(0.5, gt=0)
    """Lower bound of the softmax temperature T."""
    temperature_max: float = Field(10.0, gt=0)
    """Upper bound of T."""
    threshold_quantile: float = Field(0.995, gt=0, lt=1)
    """Quantile of d2 on the calibration rows that becomes the threshold."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "FitSettings":
        if self.temperature_min >= self.temperature_max:
            raise ValueError(
                f"fit.temperature_min: {self.temperature_min} is not below fit.temperature_max"
                f" ({self.temperature_max})"
            )
        return self


class TrainingComputeSettings(FeatureComputeSettings):
    """What training runs on, and after it the pass that gathers features."""

    num_workers: int = Field(1, gt=0)
    """DDP workers. The global batch is num_workers x optimiser.batch_size."""
    use_gpu: bool = False
    """One GPU per worker, with NCCL; otherwise CPU, with gloo."""
    precision: Precision | None = None
    """Numeric precision of scoring, in which T, statistics and thresholds are fitted; on GPU also
    that of training. Default: bf16 with use_gpu, else fp32. On CPU int8, and bf16 where the
    processor has it, are faster; the bundle is refused if it answers otherwise than fp32."""
    token_budget: int | None = Field(None, gt=0)
    """Tokens of one batch, with its padding where there is some. A training step with more takes
    several passes whose gradients add up, and stays one step. Default: a step is one pass; where
    features are gathered, that of scoring."""
    max_failures: int = Field(3, ge=0)
    """Restarts of the worker group, each from the newest checkpoint."""
    checkpoint_every_s: float = Field(600, gt=0)
    """Seconds of work that a lost worker costs at most: within an epoch a checkpoint is written so
    often, for which all workers wait, and the training goes on from the very step."""


class DemoComputeSettings(TrainingComputeSettings):
    """What the demo runs on."""

    num_workers: int = Field(2, gt=0)
    """DDP workers."""


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
    """The bundle goes to OUTPUT/bundles/VERSION, the checkpoints of the training to
    OUTPUT/training/."""
    base_model: str = "DeepPavlov/rubert-base-cased"
    """BERT-type checkpoint: hub name, folder or s3:// URI. Code inside a checkpoint is never
    run."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the bundle, and of the training run: the same name resumes it. Default: UTC time of
    the start."""
    columns: ColumnSettings = ColumnSettings()
    cleaner: CleanerSettings = CleanerSettings()
    split: SplitSettings = SplitSettings()
    recipe: RecipeName = "default"
    """Where settings of `optimiser` that are not given come from. default: what pays on small data
    (docs/training.md). notebook: the loop of the notebook."""
    seeds: int = Field(1, gt=0)
    """Trainings that differ in optimiser.seed, one after the other; the bundle is that of the best
    macro-F1 on valid, and train.html shows all."""
    optimiser: OptimiserSettings = OptimiserSettings()
    text: TextSettings = TextSettings()
    compute: TrainingComputeSettings = TrainingComputeSettings()
    fit: FitSettings = FitSettings()
    decision: DecisionSettings = DecisionSettings()
    baseline: Literal["compare", "stack"] = "compare"
    """TF-IDF + LinearSVC. compare: its accuracy stands in the report (evaluation.baseline). stack:
    one of words and pairs of words is also mixed with the network, and becomes part of the bundle
    if the mix gains at least 0.5 points of accuracy or macro-F1 on valid."""
    evaluation: EvaluationSettings = EvaluationSettings()
    promote: bool = False
    """Compare the new bundle with the champion at the end, and make it the champion where the
    limits are kept. Refused: exit 5, the bundle stays."""
    promotion: PromotionSettings = PromotionSettings()

    @model_validator(mode="after")
    def _ads_to_promote_by(self) -> "TrainSettings":
        if self.promote and not (self.promotion.test_uri or self.test_uri):
            raise ValueError(
                "promote: give promotion.test_uri, labelled ads that trained neither bundle"
            )
        return self

    @field_validator("optimiser")
    @classmethod
    def _by_the_recipe(
        cls, given: OptimiserSettings, info: ValidationInfo
    ) -> OptimiserSettings:
        return given.by(info.data.get("recipe", "default"))

    @field_validator("fit")
    @classmethod
    def _fit_by_the_recipe(cls, given: FitSettings, info: ValidationInfo) -> FitSettings:
        is_given = "temperature_of" in given.model_fields_set
        if is_given or info.data.get("recipe") != "notebook":
            return given
        return given.model_copy(update={"temperature_of": "classes"})

    @model_validator(mode="after")
    def _one_kind_of_input(self) -> "TrainSettings":
        separate = [self.train_uri, self.valid_uri, self.test_uri]
        is_part = any(separate) and not all(separate)
        if bool(self.input_uri) == any(separate) or is_part:
            raise ValueError(
                "give either input_uri, or all of train_uri, valid_uri and test_uri"
            )
        if self.calibration_uri and self.input_uri:
            raise ValueError(
                "calibration_uri goes with train_uri;"
                " with input_uri give split.calibration_fraction"
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
    compute: FeatureComputeSettings = FeatureComputeSettings()
    evaluation: EvaluationSettings = EvaluationSettings(baseline=False)


class TuneSettings(ExecutorSettings):
    """Choose tau_other, the confidence gate and the strength of the OOD rule for a target; write a
    new bundle."""

    bundle_uri: str = Field(min_length=1)
    """The bundle to start from; it stays as it is."""
    input_uri: str = Field(min_length=1)
    """Labelled ads that neither trained the bundle nor chose its checkpoint. One half fits T and
    thresholds anew, the other half chooses."""
    output_uri: str | None = None
    """The new bundle goes to OUTPUT/bundles/VERSION. Default: beside the old one."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the new bundle. Default: UTC time of the start."""
    min_precision: float | None = Field(None, gt=0, lt=1)
    """Keep as many ads as possible with at least this share of right classes among the kept.
    Default: the largest macro-F1 instead, Other being a class where evaluation.ood_uri is given."""
    rule: Literal["notebook", "conformal"] | None = None
    """OOD rule of the new bundle. Default: that of the old one."""
    seed: Seed = 42
    """Seed of the halves."""
    columns: ColumnSettings = ColumnSettings()
    compute: FeatureComputeSettings = FeatureComputeSettings()
    fit: FitSettings = FitSettings()
    evaluation: EvaluationSettings = EvaluationSettings(baseline=False)


class SubheadColumnSettings(ColumnSettings):
    """Names of the columns in the ads table."""

    subcategory: str = Field("subcategory", min_length=1)
    """Finer label inside the category; ads without one are left out."""


class SubheadsSettings(ExecutorSettings):
    """Train sub-heads, a finer class inside each category, on the CLS features of a bundle, and
    write a new version."""

    bundle_uri: str = Field(min_length=1)
    """The bundle; it stays as it is."""
    input_uri: str = Field(min_length=1)
    """Ads with category and sub-category, CSV or Parquet."""
    output_uri: str | None = None
    """The new bundle goes to OUTPUT/bundles/VERSION. Default: beside the old one."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the new bundle. Default: UTC time of the start."""
    columns: SubheadColumnSettings = SubheadColumnSettings()
    compute: FeatureComputeSettings = FeatureComputeSettings()
    min_rows_per_class: int = Field(20, ge=2)
    """Sub-categories with fewer ads are left out; with less than that, the accuracy says
    nothing."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the ads of each category held out to measure its sub-head."""
    regularisation: float = Field(1.0, gt=0)
    """Inverse strength of the L2 penalty of the logistic regression (C of sklearn), on standardised
    features."""
    seed: Seed = 42
    """Seed of the stratified split."""


class DemoSettings(RayJobSettings):
    """Run everything on a generated catalogue: generate, build a small BERT, pretrain, train, fit,
    evaluate, score, publish. The same settings give the same numbers."""

    output_uri: str = "demo"
    """Where the demo keeps its data, bundles and output."""
    num_train: int = Field(10_000, ge=2_000)
    """Labelled ads, before the split."""
    num_score: int = Field(20_000, gt=0)
    """Ads in the catalogue to score."""
    compute: DemoComputeSettings = DemoComputeSettings()
    num_pretrain_epochs: int = Field(0, ge=0)
    """Passes over the catalogue in which the small BERT guesses hidden words, before it is trained;
    the demo's folder keeps it. 0: none. So few ads teach it less than they cost: three passes
    lower the accuracy."""
    recipe: RecipeName = "default"
    """Recipe of the fine-tuning, beside its learning rate, warm-up and number of epochs."""
    num_epochs: int = Field(4, gt=0)
    """Passes over train."""
    seed: Seed = 42
    """Seed of everything."""

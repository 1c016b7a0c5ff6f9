"""The settings of the jobs that make or measure a bundle."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from rubert_ood.settings.base import PLAIN_NAME, ExecutorSettings, RayJobSettings
from rubert_ood.settings.kinds import Seed
from rubert_ood.settings.operating import LineageSettings, MlflowSettings
from rubert_ood.settings.optimiser import OptimiserSettings, RecipeName
from rubert_ood.settings.promises import PromiseSettings
from rubert_ood.settings.promotion import PromotionSettings
from rubert_ood.settings.shared import (
    ColumnSettings,
    DecisionSettings,
    EvaluationSettings,
    FeatureComputeSettings,
    Group,
    Precision,
    TextSettings,
    without_baseline,
)

PHONE_PATTERN = r"(\+?\d[\d\-\s]{6,}\d)"
NOISE_WORDS = ("продам", "куплю", "обмен", "торг", "договор", "в наличии")


class CleanerSettings(Group):
    """What is removed from an ad before the model reads it. The bundle keeps it, so that scoring
    cleans as training did."""

    phone_pattern: str = PHONE_PATTERN
    """Regular expression of phone numbers."""
    noise_words: tuple[str, ...] = NOISE_WORDS
    """Words to remove, as whole words in any case."""
    remove_cities: bool = True
    """Remove the names of the cities that training saw."""


class SplitSettings(Group):
    """How one table of labelled ads becomes train, valid and test."""

    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of all rows for the test split, which the evaluation report measures."""
    calibration_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of the remaining rows for the calibration split, which fits T and thresholds. 0: valid
    fits them, and looks better than new ads will, because it chose the checkpoint. With enough ads
    0.1 is recommended."""
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the rows then remaining for the valid split, which chooses the checkpoint."""
    seed: Seed = 42
    """Seed of the split."""
    max_stratified_rows: int = Field(5_000_000, gt=0)
    """Largest table that is split within each class, which takes about 200 bytes per row on one
    node. A larger one is split by the hash of each id (or text, in files without ids) and the
    seed."""


class FitSettings(Group):
    """What is fitted on the outputs of the model after training."""

    temperature_of: Literal["confidence", "classes"] = "confidence"
    """What the temperature T calibrates. confidence: how often the best class is right, by which
    scoring decides. classes: the probability of every class, as in the notebook. Wrong labels then
    lower the confidence of all ads."""
    temperature_min: float = Field(0.5, gt=0)
    """Lower bound of the temperature T."""
    temperature_max: float = Field(10.0, gt=0)
    """Upper bound of the temperature T."""
    threshold_quantile: float = Field(0.995, gt=0, lt=1)
    """Quantile of d2 over the calibration ads that becomes the d2 threshold."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "FitSettings":
        if self.temperature_min >= self.temperature_max:
            raise ValueError(
                f"fit.temperature_min: {self.temperature_min} is not below"
                f" fit.temperature_max ({self.temperature_max}). Change one"
                " of them"
            )
        return self


class TrainingComputeSettings(FeatureComputeSettings):
    """What training runs on, and the computation of features after it."""

    num_workers: int = Field(1, gt=0)
    """Number of DDP workers. The global batch is num_workers x optimiser.batch_size."""
    use_gpu: bool = False
    """Train on one GPU per worker (NCCL) instead of CPU (gloo)."""
    precision: Precision | None = None
    """Numeric precision of scoring, in which T, statistics and thresholds are fitted. A GPU trains
    in it too. On CPU int8 is faster, and so is bf16 where the CPU has it. The bundle is refused if
    it answers otherwise than fp32. Default: bf16 with use_gpu, else fp32."""
    token_budget: int | None = Field(None, gt=0)
    """Tokens per batch, padding included. A training step with more takes several passes whose
    gradients add up. Default: a step is one pass, and features take the budget of scoring."""
    max_failures: int = Field(3, ge=0)
    """How often to restart the workers after a failure, each time from the newest checkpoint."""
    checkpoint_every_s: float = Field(600, gt=0)
    """Longest work that a lost worker costs. Within an epoch a checkpoint is written this often,
    and training resumes at the same step."""


class DemoComputeSettings(TrainingComputeSettings):
    """What the demo runs on."""

    num_workers: int = Field(2, gt=0)
    """Number of DDP workers."""


class TrainSettings(RayJobSettings):
    """Fine-tune a BERT-type model, fit T and the OOD statistics, evaluate, and write one bundle."""

    input_uri: str | None = None
    """Labelled ads, CSV or Parquet (file, folder or glob), which `split` splits. Or set train_uri,
    valid_uri and test_uri."""
    train_uri: str | None = None
    """Labelled ads to train on."""
    valid_uri: str | None = None
    """Labelled ads that choose the checkpoint. Without calibration_uri they also fit T and
    thresholds."""
    test_uri: str | None = None
    """Labelled ads for the evaluation report."""
    calibration_uri: str | None = None
    """Labelled ads that fit T and thresholds. Recommended, because valid chose the checkpoint and
    looks better than new ads will. With input_uri use split.calibration_fraction."""
    output_uri: str = "output"
    """Root of the output, OUTPUT. The bundle goes to OUTPUT/bundles/VERSION, checkpoints go to
    OUTPUT/training/."""
    base_model: str = "DeepPavlov/rubert-base-cased"
    """BERT-type checkpoint to start from (hub name, folder or s3:// URI). Code inside a checkpoint
    is never run."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the bundle and of the training. The same name resumes a stopped training. Default:
    the UTC time of the start."""
    columns: ColumnSettings = ColumnSettings()
    cleaner: CleanerSettings = CleanerSettings()
    split: SplitSettings = SplitSettings()
    recipe: RecipeName = "default"
    """Where settings of `optimiser` come from that you do not give. default: what works on small
    data (docs/training.md). notebook: the training loop of the notebook."""
    seeds: int = Field(1, gt=0)
    """Number of trainings, one after another, with different values of optimiser.seed. The bundle
    has the one with the best macro-F1 on valid. train.html shows all."""
    optimiser: OptimiserSettings = OptimiserSettings()
    text: TextSettings = TextSettings()
    compute: TrainingComputeSettings = TrainingComputeSettings()
    fit: FitSettings = FitSettings()
    decision: DecisionSettings = DecisionSettings()
    baseline: Literal["compare", "stack"] = "compare"
    """Use of TF-IDF + LinearSVC. compare: the report shows its accuracy (evaluation.baseline).
    stack: words and pairs of words are also mixed with the network. The bundle keeps the mix if it
    gains at least 0.5 points of accuracy or macro-F1 on valid."""
    evaluation: EvaluationSettings = EvaluationSettings()
    promote: bool = False
    """Compare the new bundle with the champion at the end, and promote it if it keeps the limits.
    Otherwise the job exits with 5, and the bundle stays."""
    promotion: PromotionSettings = PromotionSettings()
    mlflow: MlflowSettings = MlflowSettings()
    lineage: LineageSettings = LineageSettings()

    @model_validator(mode="after")
    def _ads_to_promote_by(self) -> "TrainSettings":
        if self.promote and not (self.promotion.test_uri or self.test_uri):
            raise ValueError(
                "promotion.test_uri: promote needs it. Use labelled ads"
                " that trained neither bundle"
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
                "input_uri: there must be one kind of input. Set it alone, or set"
                " train_uri, valid_uri and test_uri together"
            )
        if self.calibration_uri and self.input_uri:
            raise ValueError(
                "calibration_uri: this goes with train_uri only. With"
                " input_uri set split.calibration_fraction"
            )
        return self


class EvaluateSettings(ExecutorSettings):
    """Measure a bundle on labelled ads, and write the report."""

    bundle_uri: str = Field(min_length=1)
    """Bundle to measure (a folder, BUNDLES/champion or models:/NAME@ALIAS)."""
    input_uri: str = Field(min_length=1)
    """Labelled ads, CSV or Parquet. Ads on which the bundle was trained make the report too
    good."""
    output_uri: str = "output/evaluation"
    """Folder of evaluation.json and evaluation.html."""
    columns: ColumnSettings = ColumnSettings()
    compute: FeatureComputeSettings = FeatureComputeSettings()
    evaluation: EvaluationSettings = EvaluationSettings(baseline=False)
    _check_evaluation = field_validator("evaluation")(without_baseline)


class TuneSettings(PromiseSettings):
    """Choose tau_other, the confidence gate and the strength of the OOD rule for a target. Write a
    new bundle."""

    bundle_uri: str = Field(min_length=1)
    """Bundle to start from, which stays as it is."""
    input_uri: str = Field(min_length=1)
    """Labelled ads that neither trained the bundle nor chose its checkpoint. One half fits T and
    thresholds, the other half chooses."""
    output_uri: str | None = None
    """Root of the output, OUTPUT. The new bundle goes to OUTPUT/bundles/VERSION. Default: the
    folder of the old bundle."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the new bundle. Default: the UTC time of the start."""
    seed: Seed = 42
    """Seed of the two halves."""
    columns: ColumnSettings = ColumnSettings()
    compute: FeatureComputeSettings = FeatureComputeSettings()
    fit: FitSettings = FitSettings()
    evaluation: EvaluationSettings = EvaluationSettings(baseline=False)
    _check_evaluation = field_validator("evaluation")(without_baseline)


class SubheadColumnSettings(ColumnSettings):
    """Names of the columns in the table of ads."""

    subcategory: str = Field("subcategory", min_length=1)
    """Column with the sub-category (a finer label inside the category). Ads without one are left
    out."""


class SubheadsSettings(ExecutorSettings):
    """Train sub-heads, which predict a finer class inside each category, on the CLS features of a
    bundle. Write a new bundle."""

    bundle_uri: str = Field(min_length=1)
    """Bundle to start from, which stays as it is."""
    input_uri: str = Field(min_length=1)
    """Ads with category and sub-category, CSV or Parquet."""
    output_uri: str | None = None
    """Root of the output, OUTPUT. The new bundle goes to OUTPUT/bundles/VERSION. Default: the
    folder of the old bundle."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the new bundle. Default: the UTC time of the start."""
    columns: SubheadColumnSettings = SubheadColumnSettings()
    compute: FeatureComputeSettings = FeatureComputeSettings()
    min_rows_per_class: int = Field(20, ge=2)
    """Smallest number of ads of a sub-category. Smaller ones are left out, because their accuracy
    says nothing."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the ads of each category that measures its sub-head."""
    regularisation: float = Field(1.0, gt=0)
    """Inverse strength of the L2 penalty of the logistic regression (C of scikit-learn), on
    standardised features."""
    seed: Seed = 42
    """Seed of the stratified split."""


class DemoSettings(RayJobSettings):
    """Run every step on a generated catalogue: generate, build a small BERT, train, fit, evaluate,
    score, publish. The same settings give the same numbers."""

    output_uri: str = "demo"
    """Folder for the data, bundles and output of the demo."""
    num_train: int = Field(10_000, ge=2_000)
    """Number of labelled ads, before the split."""
    num_score: int = Field(20_000, gt=0)
    """Number of ads in the catalogue to score."""
    compute: DemoComputeSettings = DemoComputeSettings()
    num_pretrain_epochs: int = Field(0, ge=0)
    """Epochs of pretraining on the catalogue before fine-tuning. 0: none. So few ads teach the
    small BERT little: three epochs lower the accuracy."""
    recipe: RecipeName = "default"
    """Recipe of the fine-tuning, except learning_rate, layer_decay, warm-up and num_epochs."""
    num_epochs: int = Field(4, gt=0)
    """Number of training epochs."""
    seed: Seed = 42
    """Seed of everything."""

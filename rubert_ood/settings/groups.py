"""Groups of settings that several jobs share."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from rubert_ood.settings.kinds import checked

PHONE_PATTERN = r"(\+?\d[\d\-\s]{6,}\d)"
NOISE_WORDS = ("продам", "куплю", "обмен", "торг", "договор", "в наличии")


Precision = Literal["fp32", "bf16", "int8"]


class Group(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain_value(cls, value: Any, info: ValidationInfo) -> Any:
        return checked(info.field_name, value)


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
    """City. Training learns the names that are removed from the text; scoring counts ads of cities
    that training has not seen, for the report. Used if the table has it."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Separator of CSV files. Default: recognised from the header: comma, semicolon, tab or |."""


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


class LongTextSettings(Group):
    """What is read of a text of more than optimiser.max_length tokens. Kept in the bundle: T,
    statistics and thresholds are fitted on texts that are read as in scoring. Fine-tuning itself
    always takes the first max_length tokens."""

    mode: Literal["truncate", "chunk"] = "truncate"
    """truncate: the first max_length tokens. chunk: overlapping windows of max_length tokens;
    logits and CLS of an ad are the means over its windows, weighted by their tokens. The time grows
    with the tokens."""
    stride: int = Field(48, ge=0)
    """chunk: tokens that neighbouring windows share, at most half of max_length. A word at the seam
    is read whole."""
    max_chunks: int = Field(8, gt=0)
    """chunk: windows per ad; what lies behind is cut, and counted as such. 8 windows of 196 are
    about 1,200 tokens."""


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
    """Quantile of d2 on the calibration rows that becomes the threshold."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "FitSettings":
        if self.temperature_min >= self.temperature_max:
            raise ValueError("temperature_min must be below temperature_max")
        return self


class DecisionSettings(Group):
    """When an ad is out of domain, and when a label is trusted. Kept in the bundle."""

    rule: Literal["notebook", "conformal"] = "notebook"
    """notebook: far is d2 > alpha * threshold and z > z_thr, with whatever false-alarm rate that
    has. conformal: far is ood_p <= conformal_alpha, which bounds the false-alarm rate on ads like
    the calibration rows."""
    alpha: float = Field(1.10, gt=0)
    """Factor on the d2 threshold; notebook rule."""
    z_thr: float = 4.0
    """Standard deviations above the mean d2 of the calibration rows; notebook rule."""
    conformal_alpha: float = Field(0.01, gt=0, lt=1)
    """Share of ordinary ads that may be taken for far, before the confidence gate; conformal
    rule."""
    ood_conf_gate: float = Field(0.75, ge=0, le=1.01)
    """An ad classified with at least this confidence is never OOD, whatever the rule; above 1 every
    far ad is."""
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
    """Rows that were rejected, or lie in shards that were set aside, over all planned rows."""
    max_quarantined_share: float = Field(0.01, ge=0, le=1)
    """Bytes of the input files that were set aside over the bytes of all input files."""
    max_duplicate_rate: float = Field(0.01, ge=0, le=1)
    """Ads whose id another ad has as well, over scored ads, counting each id once less than it
    occurs."""
    max_ood_rate: float = Field(0.2, ge=0, le=1)
    """OOD ads over scored ads."""
    max_other_rate: float = Field(0.5, ge=0, le=1)
    """Ads labelled Other over scored ads."""
    max_class_shift: float = Field(0.3, ge=0, le=1)
    """Jensen-Shannon distance (base 2) between the label shares of this run and of the last
    published one."""
    max_ignored_files: int = Field(0, ge=0)
    """Files below the input that look like data and are not read: neither Parquet nor CSV."""
    min_rows_ratio: float = Field(0.5, ge=0)
    """Scored ads over those of the last published run."""
    max_churn: float = Field(0.3, ge=0, le=1)
    """`backfill` only: ads whose label is another than in the run of that date before, over the ads
    in both."""

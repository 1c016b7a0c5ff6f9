"""Groups of settings that several jobs share."""

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rubert_ood.progress import StepLog
from rubert_ood.settings.kinds import checked
from rubert_ood.settings.problems import one_line

log = StepLog("settings")

Precision = Literal["fp32", "bf16", "int8"]
SortBy = Literal["none", "ad_id"]
DetectorName = Literal[
    "mahalanobis",
    "relative_mahalanobis",
    "mahalanobis++",
    "mahalanobis++_tokens",
    "knn",
    "nearest_neighbour",
    "msp",
    "max_logit",
    "energy",
    "combined",
    "combined_tokens",
]


class Group(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def __init__(self, **values: object) -> None:
        """Raise SettingsError, one line, that names each setting which is wrong."""
        with one_line(type(self)):
            super().__init__(**values)

    # a group inside a job is built without it: there the job names what is wrong, by its path
    setattr(__init__, "__pydantic_base_init__", True)  # noqa: B010

    @field_validator("*", mode="before")
    @classmethod
    def _plain_value(cls, value: object, info: ValidationInfo) -> object:
        return checked(info.field_name, value)


class ColumnSettings(Group):
    """Names of the columns in the table of ads."""

    ad_id: str = Field("ad_id", min_length=1)
    """Column with the unique id of an ad, as text or integer. Only scoring reads it."""
    title: str | None = Field("title", min_length=1)
    """Column with the title. A table may lack it, unless you name it here."""
    description: str = Field("description", min_length=1)
    """Column with the description, the one text column that every table must have."""
    category: str = Field("category", min_length=1)
    """Column with the label (the category). Only training and evaluation read it."""
    city: str | None = Field("city", min_length=1)
    """Column with the city. Training learns from it which city names to remove from the text.
    Scoring counts the ads of unknown cities for the report. A table may lack it, unless you name it
    here."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Delimiter of CSV files. Default: comma, semicolon, tab or |, whichever the header shows."""

    @model_validator(mode="after")
    def _a_column_for_each(self) -> "ColumnSettings":
        """Refuse a column that is named twice, and title and description in one."""
        roles: dict[str, str] = {}
        for role in (
            "title",
            "description",
            *sorted(self.model_fields_set - {"delimiter"}),
        ):
            name = getattr(self, role)
            if name is not None and roles.setdefault(name, role) != role:
                raise ValueError(
                    f"{roles[name]} and {role} name the same column"
                    f" {name!r}. Use two columns (title and city may be"
                    " null)"
                )
        return self


class TextSettings(Group):
    """What the model reads of a text. The bundle keeps it, so that scoring reads texts as the fit
    of T, statistics and thresholds did. Fine-tuning always takes the first max_length tokens."""

    max_length: int = Field(196, ge=8)
    """Tokens that the network reads at once, special tokens included."""
    mode: Literal["truncate", "window"] = "truncate"
    """How to read a text of more than max_length tokens. truncate: read its first max_length
    tokens. window: read overlapping windows of max_length tokens, and average logits and CLS over
    them, weighted by their tokens. The time grows with the tokens."""
    stride: int = Field(48, ge=0)
    """Tokens that neighbouring windows share (mode window). At most half of max_length."""
    max_windows: int = Field(8, gt=0)
    """Windows per ad (mode window). Text behind the last window is cut, and the report counts such
    ads. 8 windows of 196 tokens are about 1,200 tokens."""

    @field_validator("mode", mode="before")
    @classmethod
    def _renamed_mode(cls, value: object) -> object:
        if value != "chunk":
            return value
        log.warning(
            "text.mode: chunk is now window. Use the new name, the next version"
            " drops the old one"
        )
        return "window"

    @model_validator(mode="after")
    def _windows_advance(self) -> "TextSettings":
        if self.mode == "window" and 2 * self.stride > self.max_length:
            is_given = "stride" in self.model_fields_set
            raise ValueError(
                "text.stride:"
                f" {self.stride}{'' if is_given else ' (its default)'} is"
                f" more than half of text.max_length ({self.max_length}), so"
                " most tokens would be read twice. Lower text.stride"
            )
        return self


class ComputeSettings(Group):
    """What the model runs on."""

    use_gpu: bool = False
    """Run the model on a GPU."""
    precision: Precision | None = None
    """Numeric precision of the model. Only the precision in which the bundle was fitted is
    accepted. Default: that of the bundle."""
    token_budget: int | None = Field(None, gt=0)
    """Tokens per batch, padding included. Default: 131,072 on a GPU, 2,048 per thread on CPU."""


class ScoringComputeSettings(ComputeSettings):
    """What scoring runs on."""

    num_workers: int | None = Field(None, gt=0)
    """Largest number of Ray actors that hold the model. On GPU each actor has a GPU. The job asks
    the autoscaler for them, starts with the first, and returns them. Default: one per GPU of the
    cluster, but at least 8, and on CPU one per node."""


class FeatureComputeSettings(ComputeSettings):
    """What the model runs on when it computes labelled ads."""

    num_workers: int = Field(1, gt=0)
    """Ray actors that hold the model."""
    cpus_per_worker: float = Field(1, gt=0)
    """Logical CPUs of each worker, and its torch threads."""


class DecisionSettings(Group):
    """When an ad is out of domain (OOD), and when its class is trusted. The bundle keeps it."""

    rule: Literal["notebook", "conformal"] = "notebook"
    """OOD rule, which says when an ad is far. notebook: d2 > alpha * threshold and z > z_thr. The
    false-alarm rate has no bound. conformal: ood_p <= conformal_alpha, which bounds the false-alarm
    rate on ads like the calibration ads."""
    alpha: float = Field(1.10, gt=0)
    """Factor on the d2 threshold (notebook rule)."""
    z_thr: float = 4.0
    """Smallest z, in standard deviations of d2 over the calibration ads (notebook rule)."""
    conformal_alpha: float = Field(0.01, gt=0, lt=1)
    """Rate of false alarms before the confidence gate, as a share of in-domain ads (conformal
    rule)."""
    ood_conf_gate: float = Field(0.75, ge=0, le=1.01)
    """Confidence gate: an ad with at least this confidence is never OOD. Above 1 every far ad is
    OOD."""
    tau_other: float = Field(0.35, ge=0, le=1)
    """Confidence below which the label is Other."""
    top_k: int = Field(5, gt=0)
    """Number of best classes to keep per ad."""
    detector: DetectorName = "mahalanobis"
    """Detector that ood_p is of. combined: the p-values of several detectors of the last layer.
    combined_tokens: of one of them, and of one of the tokens before it. All but mahalanobis need
    rule conformal, as the notebook rule compares distances."""

    @model_validator(mode="after")
    def _detector_has_its_rule(self) -> "DecisionSettings":
        if self.detector != "mahalanobis" and self.rule != "conformal":
            raise ValueError(
                f"decision.detector: {self.detector} decides by its p-value,"
                f" and the rule is {self.rule}. Set decision.rule to conformal"
            )
        return self


class OodTextSettings(Group):
    """OOD texts on which to measure the bundle."""

    ood_uri: str | None = None
    """Table of out-of-domain texts with the columns text and kind."""


class EvaluationSettings(OodTextSettings):
    """Optional material of the evaluation report."""

    hard_cases_uri: str | None = None
    """Table of hand-written ads with the columns text and label (the label that you expect)."""
    baseline: bool = True
    """Train TF-IDF + LinearSVC on the same split, and show it beside the model. Only `train` has
    ads to train it on."""


def without_baseline(given: EvaluationSettings) -> EvaluationSettings:
    """Refuse a baseline that was asked for where nothing could train it."""
    if given.baseline and "baseline" in given.model_fields_set:
        raise ValueError(
            "evaluation.baseline: this job has no ads to train a baseline on. Leave it"
            " out, or see the evaluation that `train` wrote into the bundle"
        )
    return given


class GateSettings(Group):
    """Limits that a run must keep to be published."""

    max_error_rate: float = Field(0.01, ge=0, le=1)
    """Largest share of planned rows that are rejected or lie in quarantined shards."""
    max_quarantined_share: float = Field(0.01, ge=0, le=1)
    """Largest share of quarantined input files, by bytes."""
    max_duplicate_rate: float = Field(0.01, ge=0, le=1)
    """Largest share of duplicate ids over the scored ads. An id that occurs n times counts n - 1
    times."""
    max_ood_rate: float = Field(0.2, ge=0, le=1)
    """Largest share of OOD ads over the scored ads."""
    max_other_rate: float = Field(0.5, ge=0, le=1)
    """Largest share of ads labelled Other over the scored ads."""
    max_class_shift: float = Field(0.3, ge=0, le=1)
    """Largest Jensen-Shannon distance (base 2) between the label shares of this run and of the last
    published run."""
    max_ignored_files: int = Field(0, ge=0)
    """Largest number of files in the input that look like data, but are neither Parquet nor CSV."""
    min_rows_ratio: float = Field(0.5, ge=0)
    """Smallest ratio of scored ads to those of the last published run."""
    max_churn: float = Field(0.3, ge=0, le=1)
    """Largest share of ads whose label differs from the previous run of the same day (`backfill`
    only)."""


class TablesSettings(Group):
    """Iceberg and Delta tables that always hold the published run. A failure there does not fail
    the run: see `tables` in the manifest."""

    delta: bool = False
    """Keep a Delta table in OUTPUT, whose log is OUTPUT/_delta_log. Needs the extra `delta`."""
    iceberg: str | None = Field(None, pattern=r"^[^.\s]+(\.[^.\s]+)+$")
    """Name of an Iceberg table to keep, which is created if missing. Needs the extra `iceberg`."""
    catalog: str = Field("default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Catalog of the Iceberg table, as named in the configuration of pyiceberg (.pyiceberg.yaml or
    PYICEBERG_CATALOG__NAME__URI), which holds its secrets."""

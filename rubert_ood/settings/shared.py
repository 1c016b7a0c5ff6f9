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
    """Names of the columns in the ads table."""

    ad_id: str = Field("ad_id", min_length=1)
    """Unique id of an ad, text or integer; scoring only."""
    title: str | None = Field("title", min_length=1)
    """Title. Used if the table has it; a name given here explicitly must exist."""
    description: str = Field("description", min_length=1)
    """Description: the one text column that must exist."""
    category: str = Field("category", min_length=1)
    """Label; training and evaluation only."""
    city: str | None = Field("city", min_length=1)
    """City. Training learns the names that are removed from the text; scoring counts ads of cities
    that training has not seen, for the report. Used if the table has it."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Separator of CSV files. Default: recognised from the header: comma, semicolon, tab or |."""

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
                    f"{roles[name]} and {role} are both column {name!r}; name two columns"
                    " (title and city may be null)"
                )
        return self


class TextSettings(Group):
    """What is read of a text. The bundle keeps it: T, statistics and thresholds are fitted on texts
    that are read as in scoring. Fine-tuning itself always takes the first max_length tokens."""

    max_length: int = Field(196, ge=8)
    """Tokens that the network reads at once, special tokens included."""
    mode: Literal["truncate", "window"] = "truncate"
    """Of a longer text, truncate: the first max_length tokens. window: overlapping windows of
    max_length tokens; logits and CLS of an ad are the means over its windows, weighted by their
    tokens. The time grows with the tokens."""
    stride: int = Field(48, ge=0)
    """window: tokens that neighbouring windows share, at most half of max_length. A word at the
    seam is read whole."""
    max_windows: int = Field(8, gt=0)
    """window: windows per ad; what lies behind is cut, and counted as such. 8 windows of 196 are
    about 1,200 tokens."""

    @field_validator("mode", mode="before")
    @classmethod
    def _renamed_mode(cls, value: object) -> object:
        if value != "chunk":
            return value
        log.warning("text.mode: chunk is window now; the old name works for this version")
        return "window"

    @model_validator(mode="after")
    def _windows_advance(self) -> "TextSettings":
        if self.mode == "window" and 2 * self.stride > self.max_length:
            is_given = "stride" in self.model_fields_set
            raise ValueError(
                f"text.stride: {self.stride}{'' if is_given else ' (its default)'} is more than"
                f" half of text.max_length ({self.max_length}), so that most of an ad"
                " would be read twice; lower it"
            )
        return self


class ComputeSettings(Group):
    """What the model runs on."""

    use_gpu: bool = False
    """Run the model on GPU."""
    precision: Precision | None = None
    """Numeric precision: that in which the bundle was fitted, others are refused. Default: the
    bundle's."""
    token_budget: int | None = Field(None, gt=0)
    """Tokens of one batch, with its padding where there is some. Default: 131,072 on GPU, 2,048 on
    CPU, where each thread has a batch of its own."""


class ScoringComputeSettings(ComputeSettings):
    """What a catalogue is scored on."""

    num_workers: int | None = Field(None, gt=0)
    """The most actors that hold the model. On GPU each has one; the job asks the autoscaler for
    them, starts with the first, and gives them back. Default: one per GPU that is there, at least
    8 (the autoscaler starts what its node types allow); without GPUs one per node that is there."""


class FeatureComputeSettings(ComputeSettings):
    """What labelled ads are run through the model on."""

    num_workers: int = Field(1, gt=0)
    """Actors that hold the model."""
    cpus_per_worker: float = Field(1, gt=0)
    """Logical CPUs, and torch threads, of each worker."""


class DecisionSettings(Group):
    """When an ad is out of domain, and when a class is trusted. Kept in the bundle."""

    rule: Literal["notebook", "conformal"] = "notebook"
    """notebook: far is d2 > alpha * threshold and z > z_thr, with whatever false-alarm rate that
    has. conformal: far is ood_p <= conformal_alpha, which bounds the false-alarm rate on ads like
    the calibration rows."""
    alpha: float = Field(1.10, gt=0)
    """Factor on the d2 threshold; notebook rule."""
    z_thr: float = 4.0
    """Standard deviations above the mean d2 of the calibration rows; notebook rule."""
    conformal_alpha: float = Field(0.01, gt=0, lt=1)
    """Share of in-domain ads that may be taken for far, before the confidence gate; conformal
    rule."""
    ood_conf_gate: float = Field(0.75, ge=0, le=1.01)
    """The confidence gate: an ad classified with at least this confidence is never OOD, whatever
    the rule; above 1 every far ad is."""
    tau_other: float = Field(0.35, ge=0, le=1)
    """Below this confidence the label is Other."""
    top_k: int = Field(5, gt=0)
    """Best classes kept per ad."""


class OodTextSettings(Group):
    """Texts beside ads that a bundle is measured on."""

    ood_uri: str | None = None
    """Table with columns text, kind: out-of-domain texts, by kind."""


class EvaluationSettings(OodTextSettings):
    """Optional extra material of the evaluation report."""

    hard_cases_uri: str | None = None
    """Table with columns text, label: hand-written ads and the label that you expect."""
    baseline: bool = True
    """Train TF-IDF + LinearSVC on the same split and print it beside the model."""


class GateSettings(Group):
    """What a run must satisfy to be published."""

    max_error_rate: float = Field(0.01, ge=0, le=1)
    """Rows that were rejected, or lie in quarantined shards, over all planned rows."""
    max_quarantined_share: float = Field(0.01, ge=0, le=1)
    """Bytes of the quarantined input files over the bytes of all input files."""
    max_duplicate_rate: float = Field(0.01, ge=0, le=1)
    """Duplicate ids, each counted once less than it occurs, over scored ads."""
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


class TablesSettings(Group):
    """Tables for engines that read such; each holds the run that the pointer of the catalogue
    names. A failure there spoils nothing: see `tables` in the manifest."""

    delta: bool = False
    """Keep a Delta table in OUTPUT: OUTPUT/_delta_log names the files of the run. Needs the extra
    `delta`."""
    iceberg: str | None = Field(None, pattern=r"^[^.\s]+(\.[^.\s]+)+$")
    """Keep an Iceberg table, NAMESPACE.NAME; it is made if there is none. Needs the extra
    `iceberg`."""
    catalog: str = Field("default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Catalog of the Iceberg table, by its name in the configuration of pyiceberg (.pyiceberg.yaml,
    or PYICEBERG_CATALOG__NAME__URI and the like), where its secrets are."""

"""The JSON documents of a bundle, and what each of their values may be."""

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from rubert_ood.bundle.files import Document
from rubert_ood.ood.decision import OTHER
from rubert_ood.ood.fit import CalibratedOn
from rubert_ood.settings import DecisionSettings, Precision, TextSettings


def checked_names(names: list[str]) -> list[str]:
    """Raise ValueError unless these can be names of classes."""
    for name in names:
        if not name.strip() or name == OTHER:
            raise ValueError(f"{name!r} cannot be the name of a class")
        if names.count(name) > 1:
            raise ValueError(f"it names the class {name!r} twice")
    return names


OPTIONAL = {"class_limits", "detector"}
"""What only some bundles say; the detector where it is not mahalanobis, as older versions read all
others."""


def _whole(settings: BaseModel) -> None:
    """Raise ValueError when a setting was left to its default.

    The bundle was fitted with some value of it.
    """
    for name in type(settings).model_fields:
        if name not in settings.model_fields_set and name not in OPTIONAL:
            raise ValueError(f"it lacks {name!r}")


class LabelsDocument(Document):
    """label_mapping.json: the classes, in the order of the logits."""

    labels: list[str] = Field(min_length=2)

    _names = field_validator("labels")(checked_names)


class TemperatureDocument(Document):
    """temperature.json: T, and the loss that it was fitted on (nats an ad)."""

    temperature: float = Field(gt=0)
    nll_before: float = Field(ge=0)
    nll_after: float = Field(ge=0)
    at_bound: bool

    @model_validator(mode="after")
    def _improves(self) -> "TemperatureDocument":
        if self.nll_after > self.nll_before:
            raise ValueError(
                f"nll_after {self.nll_after:g} is more than nll_before {self.nll_before:g}"
            )
        return self


class ClassLimitDocument(Document):
    """Where far begins for ads of a predicted class."""

    label: str
    alpha: float = Field(ge=0, lt=1)
    num_rows: int = Field(ge=0)
    is_pooled: bool


class ThresholdDocument(Document, DecisionSettings):
    """The decision rule, and what it compares with."""

    threshold: float = Field(gt=0)
    mu: float = Field(ge=0)
    sigma: float = Field(ge=0)
    shrinkage: float = Field(ge=0, le=1)
    calibrated_on: CalibratedOn
    class_limits: list[ClassLimitDocument] | None = None
    """Those of the classes, in their order; None, as in older bundles: one limit for all."""

    @model_validator(mode="after")
    def _is_whole(self) -> "ThresholdDocument":
        _whole(self)
        return self


def said(decision: DecisionSettings) -> dict[str, object]:
    """Return what ood_threshold.json says of the decision."""
    is_other = decision.detector != "mahalanobis"
    return decision.model_dump(exclude=None if is_other else {"detector"})


class CleanerDocument(Document):
    """What is cut out of a text before it is tokenized."""

    phone_pattern: str
    noise_words: list[str]
    cities: list[str]


class LongTextDocument(Document):
    """What is read of a text of more than max_length tokens."""

    mode: Literal["truncate", "chunk"]
    """chunk is mode `window` of TextSettings."""
    stride: int = Field(ge=0)
    max_chunks: int = Field(gt=0)


class TextDocument(Document):
    """The cleaner, and TextSettings under the names that bundles have had from the start."""

    cleaner: CleanerDocument
    max_length: int = Field(ge=3)
    long_text: LongTextDocument

    @model_validator(mode="after")
    def _windows_advance(self) -> "TextDocument":
        if self.long_text.mode == "chunk" and 2 * self.long_text.stride > self.max_length:
            raise ValueError(
                f"stride {self.long_text.stride} is more than half of max_length {self.max_length}"
            )
        return self

    @classmethod
    def of(cls, cleaner: dict[str, Any], text: TextSettings) -> "TextDocument":
        """Write settings of texts under the keys of format 1 (`long_text`, `chunk`)."""
        long_text = LongTextDocument(
            mode="chunk" if text.mode == "window" else "truncate",
            stride=text.stride,
            max_chunks=text.max_windows,
        )
        return cls(
            cleaner=CleanerDocument(**cleaner),
            max_length=text.max_length,
            long_text=long_text,
        )

    def settings(self) -> TextSettings:
        """Return what it says of reading a text; it may be shorter than a job may ask for."""
        return TextSettings.model_construct(
            max_length=self.max_length,
            mode="window" if self.long_text.mode == "chunk" else "truncate",
            stride=self.long_text.stride,
            max_windows=self.long_text.max_chunks,
        )


class PrecisionDocument(Document):
    """precision.json: the numeric precision, and for fewer bits how far it agrees with fp32."""

    precision: Precision
    agreement: dict[str, float] | None = None


class StackDocument(Document):
    """stack.json: the n-grams whose margins are added to the logits, in the order of the arrays."""

    weight: float = Field(gt=0)
    num_train: int = Field(gt=0)
    max_characters: int = Field(gt=0)
    scikit_learn: str = Field(min_length=1, max_length=100)
    ngrams: list[str] = Field(min_length=1)

    @field_validator("ngrams")
    @classmethod
    def _once(cls, ngrams: list[str]) -> list[str]:
        if len(set(ngrams)) < len(ngrams):
            raise ValueError("an n-gram stands in it twice")
        return ngrams


class SubheadDocument(Document):
    """The finer classes of one class, and what was measured on held-out ads."""

    category: str
    names: list[str] = Field(min_length=2)
    measured: dict[str, int | float]

    _names = field_validator("names")(checked_names)


class SubheadsDocument(Document):
    """subheads.json: one entry a class that has finer ones."""

    settings: dict[str, int | float]
    categories: list[SubheadDocument] = Field(min_length=1)

"""The settings of annotation: which ads people label, and what becomes of their answers."""

from math import isclose
from typing import Literal

from pydantic import Field, model_validator

from rubert_ood.settings.base import PLAIN_NAME, JobSettings
from rubert_ood.settings.kinds import Seed
from rubert_ood.settings.shared import Group


class MixSettings(Group):
    """Shares of the kinds of ads to annotate. They add up to 1. Where a kind has too few ads, the
    least sure ones take their place."""

    least_sure: float = Field(0.4, ge=0, le=1)
    """Share of the ads with the smallest confidence, of those that are not OOD."""
    near_limit: float = Field(0.2, ge=0, le=1)
    """Share of the OOD ads that lie nearest to the limit."""
    far: float = Field(0.1, ge=0, le=1)
    """Share of the OOD ads that lie farthest from the limit."""
    sub_unsure: float = Field(0.1, ge=0, le=1)
    """Share of the ads with the smallest sub_confidence. Needs a bundle with sub-heads."""
    random: float = Field(0.2, ge=0, le=1)
    """Share of the random control, which measures the accuracy of the run."""

    @model_validator(mode="after")
    def _whole(self) -> "MixSettings":
        total = sum(getattr(self, name) for name in type(self).model_fields)
        if not isclose(total, 1, abs_tol=1e-6):
            raise ValueError(f"the shares add up to {total:g}. Choose shares of 1 in all")
        return self


class ExportAnnotateSettings(JobSettings):
    """Pick ads of a scored run for people to label. Write them as tasks of Label Studio and as
    CSV."""

    run_uri: str = Field(min_length=1)
    """Run folder, OUTPUT/run_date=.../run_id=..."""
    output_uri: str = "output/annotation"
    """Folder of all exports, and of the register of what was exported. An export is a folder in
    it."""
    name: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the export. Default: the UTC time of the start and a random number."""
    num: int = Field(500, gt=0, le=20_000)
    """Number of ads to annotate."""
    mix: MixSettings = MixSettings()
    max_similarity: float = Field(0.8, gt=0, le=1)
    """Cosine of TF-IDF above which two texts are near-duplicates. Of those one is exported. The
    random control keeps them."""
    blind_control: bool = True
    """Leave the predictions out of the random control, so that they do not lead the annotator."""
    bundle_uri: str | None = Field(None, min_length=1)
    """Bundle of the run, if it was moved since. Default: where it was when the run was scored."""
    seed: Seed = 42
    """Seed of the random control."""


class ImportAnnotateSettings(JobSettings):
    """Turn the answers of annotators into a table of labelled ads, and measure the run by the
    random control."""

    export_uri: str = Field(min_length=1)
    """Folder of the export, which has the texts and the sampling weights."""
    answers_uri: str = Field(min_length=1)
    """The answers: the JSON export of Label Studio, or the CSV of the export filled in."""
    output_uri: str = Field(min_length=1)
    """Table of labelled ads to write, .parquet or .csv."""
    not_ads_uri: str | None = Field(None, min_length=1)
    """Table of the texts that are not ads to write, .parquet or .csv. It can be the ood_uri of a
    training."""
    new_classes: Literal["refuse", "take"] = "refuse"
    """What to do with answers that are not a class of the bundle. refuse: leave them out and count
    them. take: they become new classes."""

    @model_validator(mode="after")
    def _tables(self) -> "ImportAnnotateSettings":
        for name in ("output_uri", "not_ads_uri"):
            uri = getattr(self, name)
            if uri and not uri.lower().endswith((".parquet", ".csv")):
                raise ValueError(f"{name}: this is not a table. Use .parquet or .csv")
        return self

"""The settings of a promotion: what a new bundle must keep to become the champion."""

from pydantic import Field

from rubert_ood.settings.base import JobSettings
from rubert_ood.settings.shared import (
    ColumnSettings,
    ComputeSettings,
    Group,
    OodTextSettings,
)


class PromotionLimits(Group):
    """What a bundle must keep to be promoted. Those with loss, rise, churn or speed in their names
    compare with the champion on the same ads; the first bundle of all keeps the others alone."""

    confidence: float = Field(0.95, ge=0.5, lt=1)
    """Of the intervals, and of the tests by class: how seldom chance alone goes beyond them."""
    min_test_ads: int = Field(200, gt=0)
    """Labelled ads that are compared; fewer tell little."""
    min_accuracy: float = Field(0.5, ge=0, le=1)
    """Share of the test ads whose best class is right."""
    min_macro_f1: float = Field(0.5, ge=0, le=1)
    """Mean F1 over the classes."""
    max_ece: float = Field(0.1, ge=0, le=1)
    """Expected calibration error over 15 bins, after T."""
    max_false_alarms: float = Field(0.05, ge=0, le=1)
    """Test ads flagged out of domain, over all."""
    max_other_rate: float = Field(0.5, ge=0, le=1)
    """Test ads labelled Other, over all."""
    min_ood_auroc: float = Field(0.5, ge=0, le=1)
    """AUROC of d2 between test ads and OOD texts, for each kind; only with evaluation.ood_uri."""
    max_accuracy_loss: float = Field(0.01, ge=0, le=1)
    """Loss of accuracy that the test ads must rule out, by the interval: with few ads a bundle that
    is as good is refused as well."""
    max_macro_f1_loss: float = Field(0.02, ge=0, le=1)
    """Loss of macro-F1 that the test ads must rule out, by the interval."""
    max_class_f1_loss: float = Field(0.05, ge=0, le=1)
    """Loss of F1 of a class, where McNemar's test says that it is not chance."""
    max_ece_rise: float = Field(0.01, ge=0, le=1)
    """Rise of the calibration error."""
    max_false_alarm_rise: float = Field(0.01, ge=0, le=1)
    """Rise of the share of test ads flagged out of domain."""
    max_other_rise: float = Field(0.05, ge=0, le=1)
    """Rise of the share of test ads labelled Other."""
    max_ood_auroc_loss: float = Field(0.05, ge=0, le=1)
    """Loss of AUROC of any kind of OOD text; only with evaluation.ood_uri."""
    max_churn: float = Field(0.3, ge=0, le=1)
    """Ads of the sample that get another label; only with sample_uri."""
    min_speed_ratio: float = Field(0.5, ge=0)
    """Ads per second over those of the champion, both on this machine."""


class PromotionSettings(Group):
    """What the bundle of a training is promoted by, with `promote`."""

    test_uri: str | None = None
    """Labelled ads that trained neither bundle. Default: the test_uri of the training."""
    sample_uri: str | None = None
    """Ads of the catalogue, for churn and speed; needs no labels."""
    sample_ads: int = Field(5_000, gt=0)
    """Ads of the sample, from all over it."""
    limits: PromotionLimits = PromotionLimits()


class PromoteSettings(JobSettings):
    """Compare a bundle with the champion of its folder on the same ads, and make it the champion
    where the limits are kept."""

    bundle_uri: str = Field(min_length=1)
    """The new bundle, BUNDLES/VERSION; BUNDLES/champion.json comes to name it."""
    test_uri: str = Field(min_length=1)
    """Labelled ads, CSV or Parquet, that trained neither bundle."""
    sample_uri: str | None = Field(None, min_length=1)
    """Ads of the catalogue, for churn and speed; needs no labels."""
    sample_ads: int = Field(5_000, gt=0)
    """Ads of the sample, from all over it."""
    columns: ColumnSettings = ColumnSettings()
    compute: ComputeSettings = ComputeSettings()
    evaluation: OodTextSettings = OodTextSettings()
    limits: PromotionLimits = PromotionLimits()
    force: str | None = Field(None, min_length=1)
    """Promote whatever the limits say, or after a rollback, for this reason; champion.json and the
    record keep it."""

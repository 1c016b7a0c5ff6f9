"""The settings of a promotion (what a new bundle must keep to become the champion), and of a
signature."""

from pydantic import Field, model_validator

from rubert_ood.settings.base import JobSettings, SignedSettings
from rubert_ood.settings.operating import MlflowSettings
from rubert_ood.settings.shared import (
    ColumnSettings,
    ComputeSettings,
    Group,
    OodTextSettings,
)


class PromotionLimits(Group):
    """Limits that a bundle must keep to be promoted. Those named loss, rise, churn or speed compare
    with the champion on the same ads. The first bundle keeps only the others."""

    confidence: float = Field(0.95, ge=0.5, lt=1)
    """Confidence level of the intervals, and of the tests by class."""
    min_test_ads: int = Field(200, gt=0)
    """Smallest number of labelled ads to compare on."""
    min_accuracy: float = Field(0.5, ge=0, le=1)
    """Smallest accuracy on the test ads."""
    min_macro_f1: float = Field(0.5, ge=0, le=1)
    """Smallest macro-F1 on the test ads."""
    max_ece: float = Field(0.1, ge=0, le=1)
    """Largest expected calibration error (ECE, 15 bins), after T."""
    max_false_alarms: float = Field(0.05, ge=0, le=1)
    """Largest share of test ads flagged OOD."""
    max_other_rate: float = Field(0.5, ge=0, le=1)
    """Largest share of test ads labelled Other."""
    min_ood_auroc: float = Field(0.5, ge=0, le=1)
    """Smallest AUROC between test ads and each kind of OOD text, of d2 or of the ood_p of another
    detector. Needs evaluation.ood_uri."""
    max_accuracy_loss: float = Field(0.01, ge=0, le=1)
    """Largest loss of accuracy that the confidence interval may allow. With few test ads even an
    equal bundle is refused."""
    max_macro_f1_loss: float = Field(0.02, ge=0, le=1)
    """Largest loss of macro-F1 that the confidence interval may allow."""
    max_class_f1_loss: float = Field(0.05, ge=0, le=1)
    """Largest loss of F1 of a class, where McNemar's test finds it significant."""
    max_ece_rise: float = Field(0.01, ge=0, le=1)
    """Largest rise of the ECE."""
    max_false_alarm_rise: float = Field(0.01, ge=0, le=1)
    """Largest rise of the share of test ads flagged OOD."""
    max_other_rise: float = Field(0.05, ge=0, le=1)
    """Largest rise of the share of test ads labelled Other."""
    max_ood_auroc_loss: float = Field(0.05, ge=0, le=1)
    """Largest loss of AUROC on any kind of OOD text. Needs evaluation.ood_uri."""
    max_churn: float = Field(0.3, ge=0, le=1)
    """Largest share of sample ads whose label changes. Needs sample_uri."""
    min_speed_ratio: float = Field(0.5, ge=0)
    """Smallest ratio of its ads per second to those of the champion, on this machine."""


class PromotionSettings(Group):
    """Material and limits of the promotion at the end of a training (`promote`)."""

    test_uri: str | None = None
    """Labelled ads that trained neither bundle. Default: the test_uri of the training."""
    sample_uri: str | None = None
    """Ads of the catalogue, without labels, to measure churn and speed."""
    sample_ads: int = Field(5_000, gt=0)
    """Ads to sample from the whole catalogue."""
    limits: PromotionLimits = PromotionLimits()


class PromoteSettings(SignedSettings):
    """Compare a bundle with the champion on the same ads, and promote it if it keeps the limits."""

    bundle_uri: str = Field(min_length=1)
    """New bundle, BUNDLES/VERSION. After promotion BUNDLES/champion.json names it."""
    test_uri: str = Field(min_length=1)
    """Labelled ads, CSV or Parquet, that trained neither bundle."""
    sample_uri: str | None = Field(None, min_length=1)
    """Ads of the catalogue, without labels, to measure churn and speed."""
    sample_ads: int = Field(5_000, gt=0)
    """Ads to sample from the whole catalogue."""
    columns: ColumnSettings = ColumnSettings()
    compute: ComputeSettings = ComputeSettings()
    evaluation: OodTextSettings = OodTextSettings()
    limits: PromotionLimits = PromotionLimits()
    force: str | None = Field(None, min_length=1)
    """Promote whatever the limits say, or after a rollback, for this reason. champion.json and the
    record keep it."""


class SignSettings(JobSettings):
    """Sign a bundle with a private key, so that others can tell who made it."""

    bundle_uri: str = Field(min_length=1)
    """Bundle to sign (a folder, BUNDLES/champion or models:/NAME@ALIAS). The signature is
    BUNDLES/VERSION.sig."""
    key: str = Field(min_length=1)
    """Local path of the private key, an elliptic-curve key in PEM form. Its password, if it has
    one, comes from the variable RUBERT_OOD_SIGNING_PASSWORD."""


class RegisterSettings(JobSettings):
    """Send what is known of a bundle to MLflow, and register it as a version of a model. Repeated,
    it sends what is missing."""

    bundle_uri: str = Field(min_length=1)
    """Bundle to register (a folder, or BUNDLES/champion)."""
    mlflow: MlflowSettings = MlflowSettings()

    @model_validator(mode="after")
    def _an_experiment(self) -> "RegisterSettings":
        if not self.mlflow.experiment:
            raise ValueError("mlflow.experiment: missing. Pass --mlflow.experiment")
        return self

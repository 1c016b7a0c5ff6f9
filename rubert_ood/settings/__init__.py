"""Frozen settings, one model per job: one YAML file is one job; environment and flags override it.

Order, strongest first: flag (`--fit.threshold_quantile 0.99`), environment
(`RUBERT_OOD_FIT__THRESHOLD_QUANTILE`), the YAML file of `--config`, the default. Secrets have no
place here: S3 credentials come from the AWS environment.

Results are found the same way for all jobs: a new bundle is OUTPUT/bundles/VERSION, or beside the
bundle that it comes from where no `output_uri` is given. OUTPUT may be the folder `bundles` itself.
Reports (`evaluate`, `diff`) lie in OUTPUT.
"""

from rubert_ood.settings.annotating import (
    ExportAnnotateSettings,
    ImportAnnotateSettings,
    MixSettings,
)
from rubert_ood.settings.auditing import AuditLabelsSettings
from rubert_ood.settings.base import ExecutorSettings, JobSettings, RayJobSettings
from rubert_ood.settings.job_line import with_job
from rubert_ood.settings.load import load_settings
from rubert_ood.settings.operating import (
    Event,
    LineageSettings,
    MlflowSettings,
    NotifySettings,
    PriceSettings,
)
from rubert_ood.settings.optimiser import OptimiserSettings, RecipeName
from rubert_ood.settings.pretraining import (
    MaskingSettings,
    PretrainCleanerSettings,
    PretrainComputeSettings,
    PretrainOptimiserSettings,
    PretrainSettings,
)
from rubert_ood.settings.promotion import (
    PromoteSettings,
    PromotionLimits,
    PromotionSettings,
    RegisterSettings,
    SignSettings,
)
from rubert_ood.settings.scoring import (
    BackfillSettings,
    CatalogueSettings,
    DaySettings,
    DiffSettings,
    PlanSettings,
    PredictSettings,
    PublishSettings,
    RollbackSettings,
    RunSettings,
    ScoreSettings,
    VerifySettings,
)
from rubert_ood.settings.shared import (
    ColumnSettings,
    ComputeSettings,
    DecisionSettings,
    DetectorName,
    EvaluationSettings,
    FeatureComputeSettings,
    GateSettings,
    Group,
    OodTextSettings,
    Precision,
    ScoringComputeSettings,
    SortBy,
    TablesSettings,
    TextSettings,
)
from rubert_ood.settings.sharing import PushSettings
from rubert_ood.settings.sources import PlainParser
from rubert_ood.settings.submitting import SubmitSettings
from rubert_ood.settings.training import (
    NOISE_WORDS,
    PHONE_PATTERN,
    CleanerSettings,
    DemoComputeSettings,
    DemoSettings,
    EvaluateSettings,
    FitSettings,
    SplitSettings,
    SubheadColumnSettings,
    SubheadsSettings,
    TrainingComputeSettings,
    TrainSettings,
    TuneSettings,
)
from rubert_ood.settings.ui import UiSettings

__all__ = [
    "NOISE_WORDS",
    "PHONE_PATTERN",
    "AuditLabelsSettings",
    "BackfillSettings",
    "CatalogueSettings",
    "CleanerSettings",
    "ColumnSettings",
    "ComputeSettings",
    "DaySettings",
    "DecisionSettings",
    "DemoComputeSettings",
    "DemoSettings",
    "DetectorName",
    "DiffSettings",
    "EvaluateSettings",
    "EvaluationSettings",
    "Event",
    "ExecutorSettings",
    "ExportAnnotateSettings",
    "FeatureComputeSettings",
    "FitSettings",
    "GateSettings",
    "Group",
    "ImportAnnotateSettings",
    "JobSettings",
    "LineageSettings",
    "MaskingSettings",
    "MixSettings",
    "MlflowSettings",
    "NotifySettings",
    "OodTextSettings",
    "OptimiserSettings",
    "PlainParser",
    "PlanSettings",
    "Precision",
    "PredictSettings",
    "PretrainCleanerSettings",
    "PretrainComputeSettings",
    "PretrainOptimiserSettings",
    "PretrainSettings",
    "PriceSettings",
    "PromoteSettings",
    "PromotionLimits",
    "PromotionSettings",
    "PublishSettings",
    "PushSettings",
    "RayJobSettings",
    "RecipeName",
    "RegisterSettings",
    "RollbackSettings",
    "RunSettings",
    "ScoreSettings",
    "ScoringComputeSettings",
    "SignSettings",
    "SortBy",
    "SplitSettings",
    "SubheadColumnSettings",
    "SubheadsSettings",
    "SubmitSettings",
    "TablesSettings",
    "TextSettings",
    "TrainSettings",
    "TrainingComputeSettings",
    "TuneSettings",
    "UiSettings",
    "VerifySettings",
    "load_settings",
    "with_job",
]

"""Frozen settings, one model per job: one YAML file is one job; environment and flags override it.

Order, strongest first: flag (`--fit.threshold_quantile 0.99`), environment
(`RUBERT_OOD_FIT__THRESHOLD_QUANTILE`), the YAML file of `--config`, the default. Secrets have no
place here: S3 credentials come from the AWS environment.
"""

from rubert_ood.settings.base import (
    ExecutorSettings,
    JobSettings,
    RayJobSettings,
)
from rubert_ood.settings.groups import (
    NOISE_WORDS,
    PHONE_PATTERN,
    CleanerSettings,
    ColumnSettings,
    DecisionSettings,
    EvaluationSettings,
    FitSettings,
    GateSettings,
    Group,
    LongTextSettings,
    OptimiserSettings,
    Precision,
    SplitSettings,
    WorkerSettings,
)
from rubert_ood.settings.load import (
    load_settings,
)
from rubert_ood.settings.models import (
    DemoSettings,
    EvaluateSettings,
    PredictSettings,
    SubheadColumnSettings,
    SubheadsSettings,
    TrainSettings,
    TuneSettings,
)
from rubert_ood.settings.runs import (
    BackfillSettings,
    DiffSettings,
    PlanSettings,
    PublishSettings,
    RollbackSettings,
    ScoreSettings,
    VerifySettings,
)
from rubert_ood.settings.sources import (
    PlainParser,
)

__all__ = [
    "NOISE_WORDS",
    "PHONE_PATTERN",
    "BackfillSettings",
    "CleanerSettings",
    "ColumnSettings",
    "DecisionSettings",
    "DemoSettings",
    "DiffSettings",
    "EvaluateSettings",
    "EvaluationSettings",
    "ExecutorSettings",
    "FitSettings",
    "GateSettings",
    "Group",
    "JobSettings",
    "LongTextSettings",
    "OptimiserSettings",
    "PlainParser",
    "PlanSettings",
    "Precision",
    "PredictSettings",
    "PublishSettings",
    "RayJobSettings",
    "RollbackSettings",
    "ScoreSettings",
    "SplitSettings",
    "SubheadColumnSettings",
    "SubheadsSettings",
    "TrainSettings",
    "TuneSettings",
    "VerifySettings",
    "WorkerSettings",
    "load_settings",
]

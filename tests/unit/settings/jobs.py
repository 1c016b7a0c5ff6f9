"""Load the settings of a job as its command does, or the line that says what is wrong."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from rubert_ood.errors import SettingsError
from rubert_ood.settings import (
    BackfillSettings,
    DemoSettings,
    DiffSettings,
    EvaluateSettings,
    PlanSettings,
    PredictSettings,
    PretrainSettings,
    PromoteSettings,
    PublishSettings,
    RollbackSettings,
    ScoreSettings,
    SubheadsSettings,
    TrainSettings,
    TuneSettings,
    VerifySettings,
    load_settings,
)

SCORE = ["--input_uri", "in", "--bundle_uri", "b", "--output_uri", "out"]
TRAIN = ["--input_uri", "in"]
SECRET_URI = "s3://AKIAIOSFODNN7EXAMPLE:SECRET/KEY@bucket/x"
JOBS = [
    BackfillSettings,
    DemoSettings,
    DiffSettings,
    EvaluateSettings,
    PlanSettings,
    PredictSettings,
    PretrainSettings,
    PromoteSettings,
    PublishSettings,
    RollbackSettings,
    ScoreSettings,
    SubheadsSettings,
    TrainSettings,
    TuneSettings,
    VerifySettings,
]


def train(*arguments: str) -> TrainSettings:
    return load_settings(TrainSettings, list(arguments), program="rubert-ood train")


def score(*arguments: str) -> ScoreSettings:
    return load_settings(ScoreSettings, list(arguments), program="rubert-ood score")


def message(function: Callable[..., Any], *arguments: str) -> str:
    """Return the one line of the SettingsError that the call must raise."""
    with pytest.raises(SettingsError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def groups(
    model: type[BaseModel], prefix: str = ""
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every nested group of settings of a job with its dotted name."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"{prefix}{name}", field.annotation
            yield from groups(field.annotation, f"{prefix}{name}.")

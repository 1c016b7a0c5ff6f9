"""The YAML files in jobs/ are jobs: every line of them is a setting, with a value that is
allowed."""

from pathlib import Path

import pytest

from rubert_ood.settings import (
    BackfillSettings,
    PretrainSettings,
    PromoteSettings,
    ScoreSettings,
    TrainSettings,
    load_settings,
)

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("pretrain", PretrainSettings),
        ("train", TrainSettings),
        ("score", ScoreSettings),
        ("backfill", BackfillSettings),
    ],
)
def test_the_job_file_loads(name, model):
    settings = load_settings(
        model, ["--config", str(JOBS / f"{name}.yaml")], program=name
    )
    assert settings.input_uri.startswith("s3://marketplace/")
    assert settings.model_dump(exclude_defaults=True)["output_uri"].startswith(
        "s3://marketplace/"
    )


def test_the_job_file_of_a_promotion_loads():
    config = ["--config", str(JOBS / "promote.yaml")]
    settings = load_settings(PromoteSettings, config, program="promote")
    assert settings.bundle_uri.startswith("s3://marketplace/rubert_ood/bundles/")
    assert settings.test_uri.startswith("s3://marketplace/")


@pytest.mark.parametrize("name", ["train", "score", "backfill"])
def test_the_job_files_agree_on_who_is_promoted_and_who_is_asked_for(name):
    models = {"train": TrainSettings, "score": ScoreSettings}
    model = models.get(name, BackfillSettings)
    config = ["--config", str(JOBS / f"{name}.yaml")]
    settings = load_settings(model, config, program=name)
    if isinstance(settings, TrainSettings):
        assert settings.promote
        assert settings.output_uri == "s3://marketplace/rubert_ood/"
    else:
        assert settings.bundle_uri == "s3://marketplace/rubert_ood/bundles/champion"


@pytest.mark.parametrize("name", ["pretrain", "train", "score", "backfill", "promote"])
def test_the_entry_point_runs_the_verb_of_its_name(name):
    assert f'main("{name}")' in (JOBS / f"{name}.py").read_text()

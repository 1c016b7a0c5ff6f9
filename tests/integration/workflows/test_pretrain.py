"""The driver's part of pretraining; what the workers do is replaced by a checkpoint that is
there."""

import json
import shutil
from contextlib import nullcontext

import pytest
from transformers import AutoModelForMaskedLM

from rubert_ood.classifier.checkpoint import (
    load_for_pretraining,
    load_network,
    load_pretrained_tokenizer,
)
from rubert_ood.errors import InputError, SettingsError
from rubert_ood.pretraining.texts import TokenBlocks
from rubert_ood.settings import PretrainOptimiserSettings, PretrainSettings
from rubert_ood.training.ray_trainer import TrainedModel
from rubert_ood.workflows import pretrain as workflow
from tests.conftest import write_parquet

METRICS = {
    "epoch": 1,
    "train_loss": 3.0,
    "train_tokens": 100,
    "train_tokens_per_s": 10.0,
    "held_out_loss": 2.5,
    "held_out_perplexity": 12.2,
    "held_out_accuracy": 0.5,
}


@pytest.fixture
def settings(ads, small_checkpoint, tmp_path) -> PretrainSettings:
    write_parquet(tmp_path / "ads.parquet", ads)
    return PretrainSettings(
        input_uri=str(tmp_path / "ads.parquet"),
        output_uri=str(tmp_path / "out"),
        base_model=small_checkpoint,
        version="v1",
    )


@pytest.fixture
def trainings(small_checkpoint, monkeypatch, tmp_path) -> list[str]:
    """Train nothing; returns the names of the runs that would have been trained."""
    names = []

    def pretrain_on(blocks, settings, run, work_dir):
        names.append(run.name)
        folder = tmp_path / f"trained-{len(names)}"
        load_for_pretraining(small_checkpoint).save_pretrained(folder)
        load_pretrained_tokenizer(small_checkpoint).save_pretrained(folder)
        return TrainedModel("", str(folder), 1, [METRICS])

    monkeypatch.setattr(workflow, "pretrain_on", pretrain_on)
    monkeypatch.setattr(workflow, "read_catalogue", lambda *_: TokenBlocks(None, 490, 10))
    monkeypatch.setattr(workflow, "ray_session", lambda _: nullcontext())
    return names


def test_pretrained_checkpoint_is_one_that_train_takes(settings, trainings):
    uri = workflow.pretrain(settings)
    assert uri == f"{settings.output_uri}/pretrained/v1"
    network = load_network(uri, ["а", "б"])
    assert network.config.num_labels == 2
    assert AutoModelForMaskedLM.from_pretrained(uri).cls.predictions is not None
    with open(f"{uri}/pretraining.json") as file:
        record = json.load(file)
    assert (record["num_train"], record["num_held_out"]) == (490, 10)
    assert record["history"] == [METRICS]


def test_finished_pretraining_is_left_as_it_is(settings, trainings):
    first = workflow.pretrain(settings)
    assert workflow.pretrain(settings) == first
    assert trainings == ["v1"]


def test_version_with_other_settings_or_data_is_refused(settings, trainings, ads):
    uri = workflow.pretrain(settings)
    other = PretrainOptimiserSettings(num_epochs=2)
    with pytest.raises(
        SettingsError, match="v1: this checkpoint was made with another value of opt"
    ):
        workflow.pretrain(settings.model_copy(update={"optimiser": other}))
    write_parquet(settings.input_uri, ads.slice(0, 400))
    with pytest.raises(SettingsError, match=r"made with another value of catalogue."):
        workflow.pretrain(settings)
    shutil.rmtree(uri)  # begun, but not finished
    with pytest.raises(SettingsError, match="'v1' began with another value of catalogue"):
        workflow.pretrain(settings)


def test_catalogue_of_empty_ads_is_refused(settings, trainings, monkeypatch):
    monkeypatch.setattr(workflow, "read_catalogue", lambda *_: TokenBlocks(None, 0, 0))
    with pytest.raises(
        InputError,
        match=(
            r"ads.parquet: no ad has readable text. Check columns.description, or use"
            r" other ads"
        ),
    ):
        workflow.pretrain(settings)
    assert trainings == []

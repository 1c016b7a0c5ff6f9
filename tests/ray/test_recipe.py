"""The default recipe on a real local Ray: early stopping, several seeds."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import ray.train
from safetensors.numpy import load_file
from sklearn.metrics import f1_score

from rubert_ood.ads.dataset import Dataset, LabelledAds, load_dataset
from rubert_ood.settings import (
    FeatureComputeSettings,
    OptimiserSettings,
    TextSettings,
    TrainingComputeSettings,
    TrainSettings,
)
from rubert_ood.training.ddp_loop import Trainer
from rubert_ood.training.features import Reader, compute_features
from rubert_ood.training.fine_tune import fine_tune
from rubert_ood.training.ray_trainer import TrainingRun
from rubert_ood.training.seeds import best_model, train_seeds
from rubert_ood.training.stopping import KEPT_BY, is_over

pytestmark = pytest.mark.usefixtures("ray_local")

RATE, BATCH = 3e-3, 16
TIMED = "train_tokens_per_s"


@pytest.fixture(scope="module")
def dataset(train_settings) -> Dataset:
    whole = load_dataset(train_settings)
    few = LabelledAds(whole.train.texts[:400], whole.train.labels_N[:400])
    return dataclasses.replace(whole, train=few)


def _settings(train_settings, folder: Path) -> TrainSettings:
    return TrainSettings(
        input_uri=train_settings.input_uri,
        output_uri=str(folder),
        base_model=train_settings.base_model,
        optimiser=OptimiserSettings(learning_rate=RATE, batch_size=BATCH, num_epochs=2),
        text=TextSettings(max_length=48),
        compute=TrainingComputeSettings(num_workers=1),
    )


@pytest.fixture
def settings(train_settings, tmp_path) -> TrainSettings:
    return _settings(train_settings, tmp_path)


@pytest.fixture(scope="module")
def seeds(train_settings, dataset, tmp_path_factory):
    """Two trainings of a version, and their settings."""
    folder = tmp_path_factory.mktemp("seeds")
    settings = _settings(train_settings, folder).model_copy(update={"seeds": 2})
    models = train_seeds(dataset, settings, run_name="v1", work_dir=str(folder / "w"))
    return models, settings


def _with(settings: TrainSettings, **change: object) -> TrainSettings:
    optimiser = settings.optimiser.model_copy(update=change)
    return settings.model_copy(update={"optimiser": optimiser})


def _checkpoint(folder: Path, name: str, epoch: int) -> Path:
    for state in folder.glob(f"training/{name}/checkpoint_*/state.json"):
        if json.loads(state.read_text())["epoch"] == epoch:
            return state.parent
    raise AssertionError(f"no checkpoint of epoch {epoch}")


def _train_from(config: dict) -> None:
    """Go on from a given checkpoint, whatever Ray Train would have offered."""
    trainer = Trainer(config, ray.train.Checkpoint.from_directory(config["checkpoint"]))
    while not is_over(trainer.history, trainer.settings):
        trained = trainer.train_epoch()
        trainer.report_epoch(
            {"epoch": trainer.epoch + 1, **trained, **trainer.validate()}
        )


def test_default_recipe_measures_what_it_keeps_and_resumes_exactly(
    dataset, seeds, settings, tmp_path, monkeypatch
):
    (whole, _), of_seeds = seeds
    outputs = compute_features(
        {"valid": dataset.valid},
        Reader(whole.checkpoint_uri, settings.text, "fp32"),
        compute=FeatureComputeSettings(),
        executor="local",
    ).gather()["valid"]
    expected = f1_score(
        dataset.valid.labels_N, outputs.logits_NC.argmax(1), average="macro"
    )
    assert whole.best["valid_macro_f1"] == pytest.approx(expected, abs=1e-12)
    assert {"grad_norm", "learning_rate"} <= whole.best.keys()
    first = _checkpoint(Path(of_seeds.output_uri), "v1", 1)
    monkeypatch.setattr(
        "rubert_ood.training.fine_tune.train_worker",
        lambda config: _train_from(config | {"checkpoint": str(first)}),
    )
    resumed = fine_tune(
        dataset, settings, run_name="resumed", work_dir=str(tmp_path / "r")
    )
    for old, new in zip(whole.history, resumed.history, strict=True):
        timed = {TIMED: new[TIMED]}
        assert old | timed == new
    last = [
        load_file(_checkpoint(Path(folder), name, 2) / "model.safetensors")
        for folder, name in ((of_seeds.output_uri, "v1"), (tmp_path, "resumed"))
    ]
    for name, weight in last[0].items():
        np.testing.assert_array_equal(weight, last[1][name], err_msg=name)


def test_default_recipe_stops_when_epochs_bring_nothing(dataset, settings, tmp_path):
    """All are as good: the first is kept, though Ray Train keeps two, of equal ones the later."""
    change = {"learning_rate": 1e-9, "num_epochs": 6, "patience": 2}
    trained = fine_tune(
        dataset, _with(settings, **change), run_name="stops", work_dir=str(tmp_path / "w")
    )
    assert [epoch["epoch"] for epoch in trained.history] == [1, 2, 3]
    assert trained.epoch == 1
    assert KEPT_BY not in trained.best


def test_train_seeds_trains_each_once_and_knows_the_best(
    dataset, seeds, tmp_path, monkeypatch
):
    (first, second), settings = seeds
    assert [first.seed, second.seed] == [42, 43]
    assert first.history[0]["train_loss"] != second.history[0]["train_loss"]
    folder = Path(settings.output_uri, "training")
    runs = {path.name for path in folder.iterdir() if path.is_dir()}
    assert runs == {"v1", "v1-seed43"}
    scores = [model.best["valid_macro_f1"] for model in (first, second)]
    assert best_model([first, second]).best["valid_macro_f1"] == max(scores)

    monkeypatch.setattr(TrainingRun, "fit", None)  # they have ended: nothing is started
    again = train_seeds(dataset, settings, run_name="v1", work_dir=str(tmp_path / "a"))
    assert [model.history for model in again] == [first.history, second.history]
    for model, before in zip(again, (first, second), strict=True):
        assert (model.seed, model.epoch) == (before.seed, before.epoch)
        weights = load_file(Path(model.checkpoint_dir, "model.safetensors"))
        for name, weight in load_file(
            Path(before.checkpoint_dir, "model.safetensors")
        ).items():
            np.testing.assert_array_equal(weights[name], weight, err_msg=name)

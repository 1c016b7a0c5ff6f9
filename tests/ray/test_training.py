"""DDP training on a real local Ray: exact metrics, agreement over worker counts, survival of a
killed worker."""

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import psutil
import pytest
import ray.train
import ray.train.torch
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, f1_score, log_loss
from transformers import AutoTokenizer

from rubert_ood.ads.dataset import LabelledAds, load_dataset
from rubert_ood.errors import SettingsError
from rubert_ood.ood.temperature import softmax
from rubert_ood.settings import FeatureComputeSettings, TextSettings, TrainSettings
from rubert_ood.training.ddp_loop import train_worker
from rubert_ood.training.features import Reader, compute_features
from rubert_ood.training.fine_tune import fine_tune
from rubert_ood.training.order import Order
from rubert_ood.training.ray_trainer import TrainedModel

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture(scope="module")
def dataset(train_settings):
    whole = load_dataset(train_settings)
    odd = LabelledAds(
        whole.valid.texts[:449], whole.valid.labels_N[:449]
    )  # no multiple of the workers
    return dataclasses.replace(whole, valid=odd)


@pytest.fixture(scope="module")
def two_workers(train_settings, dataset, tmp_path_factory):
    work_dir = str(tmp_path_factory.mktemp("two_workers"))
    return fine_tune(dataset, train_settings, run_name="two-workers", work_dir=work_dir)


@pytest.fixture(scope="module")
def features(two_workers, dataset):
    """What the kept checkpoint says of all splits, in the object store."""
    parts = {"valid": dataset.valid, "train": dataset.train, "test": dataset.test}
    return compute_features(
        parts,
        Reader(two_workers.checkpoint_uri, TextSettings(max_length=48), "fp32"),
        compute=FeatureComputeSettings(),
        executor="ray",
    )


def _with(settings: TrainSettings, **groups: dict) -> TrainSettings:
    return settings.model_copy(
        update={
            name: getattr(settings, name).model_copy(update=change)
            for name, change in groups.items()
        }
    )


def test_history_has_every_epoch_and_every_valid_row_once(
    two_workers, dataset, train_settings
):
    epochs = [*range(1, train_settings.optimiser.num_epochs + 1)]
    assert [entry["epoch"] for entry in two_workers.history] == epochs
    assert {entry["valid_rows"] for entry in two_workers.history} == {len(dataset.valid)}


def test_valid_metrics_equal_a_recomputation_from_the_kept_checkpoint(
    two_workers, dataset, features
):
    valid = features.gather()["valid"]
    predicted = valid.logits_NC.argmax(1)
    best = two_workers.history[two_workers.epoch - 1]
    assert best["valid_accuracy"] == accuracy_score(dataset.valid.labels_N, predicted)
    assert best["valid_macro_f1"] == f1_score(
        dataset.valid.labels_N, predicted, average="macro"
    )
    expected = log_loss(
        dataset.valid.labels_N, softmax(valid.logits_NC), labels=range(10)
    )
    assert best["valid_loss"] == pytest.approx(expected, rel=1e-4)


def test_every_token_of_every_epoch_is_counted(two_workers, dataset):
    tokenizer = AutoTokenizer.from_pretrained(two_workers.checkpoint_dir)
    lengths = [
        len(ids)
        for ids in tokenizer(dataset.train.texts, truncation=True, max_length=48)[
            "input_ids"
        ]
    ]
    assert len(lengths) % 2 == 1  # two workers leave one row out, another one each time
    out = [sum(lengths) - entry["train_tokens"] for entry in two_workers.history]
    assert {*out} <= {*lengths}
    assert len({*out}) > 1
    assert all(entry["train_tokens_per_s"] > 0 for entry in two_workers.history)


def test_the_kept_checkpoint_has_the_best_macro_f1(two_workers):
    scores = [entry["valid_macro_f1"] for entry in two_workers.history]
    assert scores[two_workers.epoch - 1] == max(scores)
    assert max(scores) > 0.9  # it did learn
    assert not [
        name
        for name in os.listdir(two_workers.checkpoint_dir)
        if name.endswith((".pt", "state.json"))
    ]


def test_one_worker_agrees_at_the_same_global_batch(
    two_workers, dataset, train_settings, tmp_path
):
    settings = _with(
        train_settings, compute={"num_workers": 1}, optimiser={"batch_size": 32}
    )
    one = fine_tune(dataset, settings, run_name="one-worker", work_dir=str(tmp_path))
    final = [run.history[-1]["valid_macro_f1"] for run in (one, two_workers)]
    assert final[0] == pytest.approx(final[1], abs=0.02)


def _kill_a_training_worker() -> list[int]:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("RayTrainWorker" in part for part in process.cmdline()):
                process.kill()
                return [process.pid]
    return []


STEPS = "steps.jsonl"
"""What the workers of a training did, a line for each step of each of them."""


def _note_steps(config: dict) -> None:
    """Train, and note the rows of each step when the next one is asked for."""
    rank, whole = ray.train.get_context().get_world_rank(), Order.steps

    def steps(self: Order, epoch: int, *, start: int = 0) -> Iterator[np.ndarray]:
        for number, rows in enumerate(whole(self, epoch, start=start), start):
            yield rows
            mine = self.of_worker(rows, rank).tolist()
            done = {"epoch": epoch, "step": number, "rows": mine, "start": start}
            with open(config["notes"], "a") as file:  # one write: lines do not mix
                file.write(json.dumps(done) + "\n")

    with mock.patch.object(Order, "steps", steps):
        train_worker(config)


def _lost_within_an_epoch(tmp_path: Path, killed: list[int]) -> None:
    """Kill a worker as soon as Ray Train's newest checkpoint lies within the second epoch."""
    run = tmp_path / "training" / "lost"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not killed:
        with contextlib.suppress(OSError, ValueError, TypeError):
            kept = json.loads((run / "checkpoint_manager_snapshot.json").read_text())
            newest = run / kept["latest_checkpoint_result"]["checkpoint_dir_name"]
            state = json.loads((newest / "state.json").read_text())
            if state["epoch"] == 1 and state["step"] > 0:
                killed.extend(_kill_a_training_worker())
        time.sleep(0.02)


def test_a_worker_lost_within_an_epoch_costs_no_step_before_the_checkpoint(
    two_workers, dataset, train_settings, tmp_path, monkeypatch
):
    """Rows are counted by their numbers, and the weights are those of a training in peace."""
    notes = tmp_path / STEPS
    monkeypatch.setattr(
        "rubert_ood.training.fine_tune.train_worker",
        lambda config: _note_steps(config | {"notes": str(notes)}),
    )
    settings = _with(train_settings, compute={"checkpoint_every_s": 0.4})
    settings = settings.model_copy(update={"output_uri": str(tmp_path)})
    killed: list[int] = []
    killer = threading.Thread(target=_lost_within_an_epoch, args=(tmp_path, killed))
    killer.start()
    lost = fine_tune(dataset, settings, run_name="lost", work_dir=str(tmp_path / "w"))
    killer.join()
    assert killed
    steps = [json.loads(line) for line in notes.read_text().splitlines()]
    resumed = max(step["start"] for step in steps if step["epoch"] == 1)
    assert resumed > 0
    for epoch in range(settings.optimiser.num_epochs):
        of_epoch = [step for step in steps if step["epoch"] == epoch]
        times = Counter(row for step in of_epoch for row in step["rows"])
        assert len(times) == len(dataset.train) // 2 * 2
        again = {step["step"] for step in of_epoch if times[step["rows"][0]] > 1}
        assert min(again, default=resumed) >= resumed
        assert max(times.values()) <= (2 if epoch == 1 else 1)
    names = ("epoch", "train_loss", "train_tokens", "valid_macro_f1")
    for one, other in zip(lost.history, two_workers.history, strict=True):
        assert [one[name] for name in names] == pytest.approx(
            [other[name] for name in names], rel=1e-12
        )
        # a sum of float32, of which a new process may round one otherwise
        assert one["valid_loss"] == pytest.approx(other["valid_loss"], rel=1e-7)
    assert lost.epoch == two_workers.epoch > 2
    for name, weight in _weights_of(two_workers).items():
        np.testing.assert_array_equal(_weights_of(lost)[name], weight, err_msg=name)


def _weights_of(trained: TrainedModel) -> dict[str, np.ndarray]:
    return load_file(Path(trained.checkpoint_dir, "model.safetensors"))


def _that_fails_once(train_settings, tmp_path):
    """Return a training of one worker that is not started again."""
    compute = {"num_workers": 1, "max_failures": 0}
    settings = _with(train_settings, compute=compute)
    return settings.model_copy(update={"output_uri": str(tmp_path)})


def test_a_gpu_that_a_worker_lacks_is_one_line_before_the_first_step(
    dataset, train_settings, tmp_path, monkeypatch
):
    """The driver need not have a GPU: the worker finds out."""
    monkeypatch.setattr(
        "rubert_ood.training.fine_tune.train_worker",
        lambda config: train_worker(config | {"use_gpu": True, "precision": "bf16"}),
    )
    settings = _that_fails_once(train_settings, tmp_path)
    with pytest.raises(SettingsError, match=r"^compute.use_gpu: torch finds no"):
        fine_tune(dataset, settings, run_name="no-gpu", work_dir=str(tmp_path / "work"))
    assert not list(tmp_path.glob("training/no-gpu/checkpoint_*"))


def test_valid_is_no_multiple_of_the_workers(dataset, train_settings):
    """Otherwise the tests above would not see a lost or doubled row."""
    assert len(dataset.valid) % train_settings.compute.num_workers == 1


def test_statistics_are_fitted_on_stored_features_without_gathering_them(
    features, dataset, monkeypatch
):
    """Two passes over batches on the workers against sklearn on all rows at once."""
    from sklearn.covariance import LedoitWolf

    from rubert_ood.training import features as module
    from rubert_ood.training.fit_features import fit_statistics

    monkeypatch.setattr(
        module, "SUM_ADS", 300
    )  # several sums, and one that two parts share
    statistics = fit_statistics(features, dataset.labels)
    train = features.gather()["train"]
    x_NH = train.cls_NH.astype(np.float64)
    means_CH = np.stack(
        [x_NH[train.labels_N == c].mean(0) for c in range(len(dataset.labels))]
    )
    estimate = LedoitWolf().fit(x_NH - means_CH[train.labels_N])
    np.testing.assert_allclose(statistics.means_CH, means_CH, rtol=1e-9, atol=1e-12)
    assert statistics.shrinkage == pytest.approx(estimate.shrinkage_, rel=1e-8)
    ratio = statistics.precision_HH / statistics.precision_HH[0, 0]
    expected = estimate.precision_ / estimate.precision_[0, 0]
    np.testing.assert_allclose(
        ratio, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max()
    )


def test_a_version_that_began_with_other_data_is_refused(
    two_workers, dataset, train_settings, tmp_path
):
    """Resuming would go on from weights that saw other ads, and label them with the names of other
    classes."""
    fewer = dataclasses.replace(
        dataset,
        train=LabelledAds(dataset.train.texts[:500], dataset.train.labels_N[:500]),
    )
    with pytest.raises(
        SettingsError,
        match=(
            r"version: the training 'two-workers' began with another value of labelled"
            r" ads. Choose another"
        ),
    ):
        fine_tune(fewer, train_settings, run_name="two-workers", work_dir=str(tmp_path))
    other = _with(train_settings, optimiser={"num_epochs": 40})
    with pytest.raises(SettingsError, match=r"another value of optimiser"):
        fine_tune(dataset, other, run_name="two-workers", work_dir=str(tmp_path))

"""The driver's side of training that needs no Ray cluster."""

import json
import re
from types import SimpleNamespace

import pytest
import ray.train
import torch

from rubert_ood.errors import (
    BundleError,
    PartialRunError,
    RubertOodError,
    SettingsError,
    StorageUnavailableError,
)
from rubert_ood.training.ddp_loop import UNSCORED
from rubert_ood.training.ray_trainer import TrainingRun, _failure
from rubert_ood.training.stopping import KEPT_BY


def _checkpoint(folder, epoch):
    folder.mkdir()
    (folder / "model.safetensors").write_text(f"weights of epoch {epoch}")
    (folder / "optimiser.pt").write_text("state")
    history = [{"epoch": number} for number in range(1, epoch + 1)]
    (folder / "state.json").write_text(json.dumps({"epoch": epoch, "history": history}))
    return ray.train.Checkpoint.from_directory(str(folder))


def _run(folder, metric="valid_macro_f1", better="max"):
    return TrainingRun(str(folder), "v1", metric, better)


def test_history_is_whole_though_the_newest_checkpoint_is_not_among_the_best(tmp_path):
    """Ray Train lists the two best; the newest of four epochs may be neither."""
    two, three, four = (_checkpoint(tmp_path / str(epoch), epoch) for epoch in (2, 3, 4))
    best = [
        (two, {"valid_macro_f1": 0.9, "epoch": 2}),
        (three, {"valid_macro_f1": 0.95, "epoch": 3}),
    ]
    trained = _run(tmp_path).take_best(
        SimpleNamespace(best_checkpoints=best, checkpoint=four), str(tmp_path)
    )
    assert [entry["epoch"] for entry in trained.history] == [1, 2, 3, 4]
    assert trained.epoch == 3
    assert trained.checkpoint_uri == str(tmp_path / "3")
    copied = {
        path.name: path.read_text() for path in (tmp_path / "best_checkpoint").iterdir()
    }
    assert copied == {"model.safetensors": "weights of epoch 3"}


def test_run_of_equal_scores_takes_the_earlier_epoch(tmp_path):
    one, two = (_checkpoint(tmp_path / str(epoch), epoch) for epoch in (1, 2))
    best = [
        (two, {"valid_macro_f1": 0.9, "epoch": 2}),
        (one, {"valid_macro_f1": 0.9, "epoch": 1}),
    ]
    result = SimpleNamespace(best_checkpoints=best, checkpoint=two)
    assert _run(tmp_path).take_best(result, str(tmp_path)).epoch == 1


def test_run_that_wants_a_small_number_takes_the_smallest_of_whole_epochs(tmp_path):
    one, two, three = (_checkpoint(tmp_path / str(epoch), epoch) for epoch in (1, 2, 3))
    best = [
        (one, {"held_out_loss": 2.0, "epoch": 1}),
        (three, {"held_out_loss": 0.1}),  # within an epoch
        (two, {"held_out_loss": 1.5, "epoch": 2}),
    ]
    result = SimpleNamespace(best_checkpoints=best, checkpoint=three)
    run = _run(tmp_path, "held_out_loss", "min")
    assert run.take_best(result, str(tmp_path)).epoch == 2


def test_run_that_began_with_something_else_is_refused(tmp_path):
    run = _run(tmp_path)
    run.begin({"base_model": "a", "labels": ["x"], "num_workers": 2})
    run.begin({"base_model": "a", "labels": ["x"], "num_workers": 2})
    with pytest.raises(
        SettingsError, match="'v1' began with another value of labels, num_workers"
    ):
        run.begin({"base_model": "a", "labels": ["y"], "num_workers": 1})


def test_best_checkpoint_is_never_one_within_an_epoch(tmp_path):
    within, one = _checkpoint(tmp_path / "0", 0), _checkpoint(tmp_path / "1", 1)
    best = [(one, {KEPT_BY: 0.0, "epoch": 1}), (within, UNSCORED)]
    result = SimpleNamespace(best_checkpoints=best, checkpoint=one)
    assert _run(tmp_path, KEPT_BY).take_best(result, str(tmp_path)).epoch == 1
    assert UNSCORED[KEPT_BY] < 0
    nothing = SimpleNamespace(best_checkpoints=best[1:], checkpoint=within, path="x")
    with pytest.raises(RubertOodError, match="left no checkpoint"):
        _run(tmp_path, KEPT_BY).take_best(nothing, str(tmp_path))


def test_a_run_without_a_checkpoint_is_an_error(tmp_path):
    with pytest.raises(RubertOodError, match="left no checkpoint"):
        _run(tmp_path).take_best(
            SimpleNamespace(best_checkpoints=[], checkpoint=None, path="x"),
            str(tmp_path),
        )


class _WrappedError(Exception):
    """As Ray Train hands an exception of a worker back."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("Traceback ...\nlast line")
        self._base_exc = cause


LOST = RuntimeError("Connection closed by peer [127.0.0.1]")


@pytest.mark.parametrize(
    ("causes", "kind", "code", "line"),
    [
        (
            [SettingsError("optimiser.learning_rate: lower it")],
            SettingsError,
            2,
            "optimiser.learning_rate: lower it",
        ),
        ([BundleError("x: damaged")], BundleError, 2, "x: damaged"),
        ([LOST, BundleError("x: damaged")], BundleError, 2, "x: damaged"),
        (
            [ValueError("a\nb")],
            RubertOodError,
            1,
            "the training v1 failed, and would fail again: ValueError: b",
        ),
        (
            [LOST, TypeError("t")],
            RubertOodError,
            1,
            "the training v1 failed, and would fail again: TypeError: t",
        ),
        (
            [KeyError("k")],
            RubertOodError,
            1,
            "the training v1 failed, and would fail again: KeyError: 'k'",
        ),
        (
            [torch.OutOfMemoryError("CUDA")],
            SettingsError,
            2,
            ("compute.token_budget: a forward pass does not fit in GPU memory. Set or"),
        ),
        (
            [LOST],
            PartialRunError,
            6,
            (
                "the training v1 stopped.* the same version .*: RuntimeError:"
                " Connection cl"
            ),
        ),
        (
            [OSError("disk full")],
            PartialRunError,
            6,
            "the training v1 stopped.* newest checkpoint.*: OSError: disk full",
        ),
        (
            [StorageUnavailableError("s3: slow")],
            PartialRunError,
            6,
            "the training v1 stopped.*: s3: slow",
        ),
    ],
)
def test_a_failure_that_would_come_again_is_not_one_to_go_on_from(
    causes, kind, code, line
):
    failures = {rank: _WrappedError(cause) for rank, cause in enumerate(causes)}
    error = _failure("v1", ray.train.WorkerGroupError("two workers failed", failures))
    assert type(error) is kind
    assert error.exit_code == code
    assert re.match(line, str(error))
    assert "\n" not in str(error)


def test_a_failure_without_workers_may_pass():
    error = _failure("v1", ray.train.ControllerError(RuntimeError("the node is gone")))
    assert type(error) is PartialRunError


@pytest.mark.parametrize("snapshot", [None, "", "{}"])
def test_a_training_without_a_list_of_checkpoints_has_not_finished(tmp_path, snapshot):
    """Ray Train says what is wrong with a damaged one, when it is asked to go on."""
    if snapshot is not None:
        (tmp_path / "v1").mkdir()
        (tmp_path / "v1" / "checkpoint_manager_snapshot.json").write_text(snapshot)
    assert _run(tmp_path).finished(lambda history: True) is None

"""A training on the workers of Ray Train: begun or taken up, watched, and its best checkpoint.

What the workers do is the caller's: ddp_loop.py, pretraining/loop.py.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import ray.data
import ray.train
import ray.train.torch
import torch

from rubert_ood import storage
from rubert_ood.classifier.local_checkpoint import TRAINING_STATE
from rubert_ood.errors import PartialRunError, RubertOodError, SettingsError
from rubert_ood.settings import TrainingComputeSettings
from rubert_ood.training.checkpoints import read_state
from rubert_ood.training.lines import shown_lines
from rubert_ood.training.preflight import precision_of_training, warn_of_waiting

LARGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
"""Lets torch ask Linux for pages of 2 MB: the gradient of the embeddings is allocated at every
step, and clearing it page by page took a sixth of a small model's time."""
RECURRING = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
"""What the same data and settings would raise again; a RuntimeError may be a lost connection."""
SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list of the checkpoints of a training."""
History = list[dict[str, int | float]]


@dataclass(frozen=True)
class TrainedModel:
    """The best epoch of a training."""

    checkpoint_uri: str
    """Its checkpoint, where every node can read it."""
    checkpoint_dir: str
    """Local copy in HF layout, without the training state."""
    epoch: int
    history: History
    """One entry per epoch: epoch, train_loss, train_tokens, train_tokens_per_s (all workers,
    without padding), and what the loop measured after it."""
    seed: int = 0

    @property
    def best(self) -> dict[str, int | float]:
        """What was measured in that epoch."""
        return self.history[self.epoch - 1]


@dataclass(frozen=True)
class TrainingRun:
    """A training by its name; the same name resumes it."""

    folder_uri: str
    """Where its checkpoints lie, in a folder of its name."""
    name: str
    metric: str
    """What its checkpoints are compared by."""
    better: Literal["max", "min"] = "max"
    step: str = "train"
    """What its lines begin with."""

    def begin(self, identity: Mapping[str, object]) -> None:
        """Note what it trains on; one of that name with other data or settings is refused."""
        uri = storage.join(self.folder_uri, f"{self.name}.json")
        if not storage.exists(uri):
            storage.put_json(uri, identity)
            return
        older = storage.read_json(uri)
        changed = [name for name, value in identity.items() if older.get(name) != value]
        if changed:
            raise SettingsError(
                f"version: the training {self.name!r} began with another"
                f" value of {', '.join(changed)}. Choose another version"
            )

    def finished(self, is_over: Callable[[History], bool]) -> ray.train.Result | None:
        """Return what a training of this name left, if it has ended: it needs no worker."""
        if not storage.exists(storage.join(self.folder_uri, self.name, SNAPSHOT)):
            return None
        fs, path = storage.arrow_filesystem(self.folder_uri)
        with suppress(Exception):  # of what cannot be read, `fit` says why
            place = storage.join(path, self.name)
            result = ray.train.Result.from_path(place, storage_filesystem=fs)
            if is_over(_history_of(result)):
                return result
        return None

    def fit(
        self,
        loop: Callable[[dict[str, Any]], None],
        config: Mapping[str, Any],
        datasets: Mapping[str, ray.data.Dataset],
        compute: TrainingComputeSettings,
    ) -> ray.train.Result:
        """Run the loop on every worker, and show its lines; each node reads all of the datasets.

        The loop gets `config`, what `compute` says of a worker, and the queue `lines`. Raises
        PartialRunError only for what another attempt may not meet.
        """
        warn_of_waiting(compute)
        with shown_lines(self.step) as lines:
            trainer = _Trainer(
                loop,
                train_loop_config={**config, **_of_worker(compute), "lines": lines},
                datasets=dict(datasets),
                # each node has all rows, so that their order is free of who works where
                dataset_config=ray.train.DataConfig(datasets_to_split=[]),
                scaling_config=_scaling(compute),
                run_config=self._run_config(compute),
                torch_config=ray.train.torch.TorchConfig(
                    backend="nccl" if compute.use_gpu else "gloo"
                ),
            )
            try:
                return trainer.fit()
            except ray.train.TrainingFailedError as error:
                raise _failure(self.name, error) from error

    def _run_config(self, compute: TrainingComputeSettings) -> ray.train.RunConfig:
        fs, path = storage.arrow_filesystem(self.folder_uri)
        return ray.train.RunConfig(
            name=self.name,
            storage_path=path,
            storage_filesystem=fs,
            failure_config=ray.train.FailureConfig(max_failures=compute.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2,
                checkpoint_score_attribute=self.metric,
                checkpoint_score_order=self.better,
            ),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
            worker_runtime_env={"env_vars": LARGE_PAGES},
        )

    def take_best(self, result: ray.train.Result, work_dir: str) -> TrainedModel:
        """Copy the best checkpoint of a finished run into work_dir; of equal ones the earlier."""
        checkpoints = []
        for kept in result.best_checkpoints or []:
            if "epoch" in kept[1]:  # the others lie within an epoch
                checkpoints.append(kept)
        if not checkpoints:
            raise RubertOodError(
                f"the training at {result.path} left no checkpoint. Choose another version"
            )
        sign = 1 if self.better == "max" else -1
        best, metrics = max(
            checkpoints, key=lambda item: (sign * item[1][self.metric], -item[1]["epoch"])
        )
        history = _history_of(result)
        folder = best.to_directory(os.path.join(work_dir, "best_checkpoint"))
        for name in os.listdir(folder):
            if name.endswith(TRAINING_STATE):
                os.unlink(os.path.join(folder, name))
        uri = f"s3://{best.path}" if storage.is_s3(self.folder_uri) else best.path
        return TrainedModel(uri, folder, metrics["epoch"], history)


def _history_of(result: ray.train.Result) -> History:
    """Read it from the newest checkpoint, which need not be among the best that were kept."""
    with result.checkpoint.as_directory() as folder:
        return [*read_state(folder).history]


def _of_worker(compute: TrainingComputeSettings) -> dict[str, Any]:
    return {
        "use_gpu": compute.use_gpu,
        "precision": precision_of_training(compute),
        "token_budget": compute.token_budget,
        "num_threads": int(max(1, compute.cpus_per_worker)),
        "checkpoint_every_s": compute.checkpoint_every_s,
    }


def _scaling(compute: TrainingComputeSettings) -> ray.train.ScalingConfig:
    return ray.train.ScalingConfig(
        num_workers=compute.num_workers,
        use_gpu=compute.use_gpu,
        resources_per_worker={"CPU": compute.cpus_per_worker}
        | ({"GPU": 1} if compute.use_gpu else {}),
    )


def _failure(run_name: str, error: ray.train.TrainingFailedError) -> RubertOodError:
    """Make the error of the job from those of its workers.

    A failure that would recur does not offer to resume.
    """
    failures = getattr(error, "worker_failures", None) or {0: error}
    causes = [getattr(failure, "_base_exc", failure) for failure in failures.values()]
    for cause in causes:  # one worker's own failure breaks the connections of the others
        if isinstance(cause, RubertOodError) and not isinstance(cause, PartialRunError):
            return type(cause)(str(cause))
        if isinstance(cause, torch.OutOfMemoryError):
            return SettingsError(
                "compute.token_budget: a forward pass does not fit in GPU"
                " memory. Set or lower it (a step keeps"
                " optimiser.batch_size ads)"
            )
        if isinstance(cause, RECURRING):
            return RubertOodError(
                f"the training {run_name} failed, and would fail again: {_line(cause)}"
            )
    return PartialRunError(
        f"the training {run_name} stopped. Run it again with the same"
        " version to resume from its newest checkpoint. Reason:"
        f" {_line(causes[0])}"
    )


def _line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1]}" if lines else type(cause).__name__


class _Trainer(ray.train.torch.TorchTrainer):
    """Leaves Ctrl-C to us.

    Ray Train would answer the second one with nothing, and the third with exit code 0.
    """

    def _register_sigint_handler(self, controller: Any) -> None:
        pass

"""Fine-tune with Ray Train: the driver's side. The loop of the workers is in ddp_loop.py."""

import os
from dataclasses import dataclass, replace
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.util.queue import Queue

from rubert_ood import storage
from rubert_ood.ads.dataset import Dataset
from rubert_ood.classifier.checkpoint import TRAINING_STATE
from rubert_ood.errors import PartialRunError, RubertOodError, SettingsError
from rubert_ood.settings import TrainingComputeSettings, TrainSettings
from rubert_ood.training.checkpoints import read_state
from rubert_ood.training.ddp_loop import train_worker
from rubert_ood.training.lines import shown_lines
from rubert_ood.training.preflight import precision_of_training, warn_of_waiting
from rubert_ood.training.token_dataset import everywhere, token_dataset

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


@dataclass(frozen=True)
class TrainedModel:
    """The best epoch of a fine-tuning."""

    checkpoint_uri: str
    """The checkpoint with the best macro-F1, where every node can read it."""
    checkpoint_dir: str
    """Local copy in HF layout, without the training state."""
    epoch: int
    history: list[dict[str, int | float]]
    """One entry per epoch: epoch, train_loss, train_tokens, train_tokens_per_s (all workers,
    without padding), grad_norm, learning_rate, valid_loss, valid_accuracy, valid_macro_f1."""
    seed: int = 0

    @property
    def best(self) -> dict[str, int | float]:
        """What was measured in that epoch."""
        return self.history[self.epoch - 1]


def fine_tune(
    dataset: Dataset, settings: TrainSettings, *, run_name: str, work_dir: str
) -> TrainedModel:
    """Train on the workers and copy the best checkpoint into work_dir.

    The same run_name resumes a stopped run. The dataset has passed `check_training`. Raises
    PartialRunError only for what another attempt may not meet.
    """
    _claim_run(dataset, settings, run_name)
    warn_of_waiting(settings.compute)
    with shown_lines() as lines:
        trainer = _trainer(dataset, settings, run_name, lines)
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise _failure(run_name, error) from error
    best = _best_checkpoint(result, settings.output_uri, work_dir)
    return replace(best, seed=settings.optimiser.seed)


def _trainer(
    dataset: Dataset, settings: TrainSettings, run_name: str, lines: Queue
) -> ray.train.torch.TorchTrainer:
    base_model, compute = everywhere(settings.base_model), settings.compute
    max_length = settings.text.max_length
    fs, path = storage.arrow_filesystem(storage.join(settings.output_uri, "training"))
    return _Trainer(
        train_worker,
        train_loop_config={
            "base_model": base_model,
            "labels": dataset.labels,
            "optimiser": settings.optimiser.model_dump(),
            "use_gpu": compute.use_gpu,
            "precision": precision_of_training(compute),
            "token_budget": compute.token_budget,
            "num_threads": int(max(1, compute.cpus_per_worker)),
            "checkpoint_every_s": compute.checkpoint_every_s,
            "lines": lines,
        },
        datasets={
            "train": token_dataset(dataset.train, base_model, max_length),
            "valid": token_dataset(dataset.valid, base_model, max_length),
        },
        # each node has all rows, so that their order is free of who works where
        dataset_config=ray.train.DataConfig(datasets_to_split=[]),
        scaling_config=_scaling(compute),
        run_config=ray.train.RunConfig(
            name=run_name,
            storage_path=path,
            storage_filesystem=fs,
            failure_config=ray.train.FailureConfig(max_failures=compute.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute="valid_macro_f1"
            ),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
            worker_runtime_env={"env_vars": LARGE_PAGES},
        ),
        torch_config=ray.train.torch.TorchConfig(
            backend="nccl" if compute.use_gpu else "gloo"
        ),
    )


def _scaling(compute: TrainingComputeSettings) -> ray.train.ScalingConfig:
    return ray.train.ScalingConfig(
        num_workers=compute.num_workers,
        use_gpu=compute.use_gpu,
        resources_per_worker={"CPU": compute.cpus_per_worker}
        | ({"GPU": 1} if compute.use_gpu else {}),
    )


def _claim_run(dataset: Dataset, settings: TrainSettings, run_name: str) -> None:
    """Note what this run trains on; one of that name with other data or settings is refused."""
    identity = {
        "labelled ads": [dataset.train.digest(), dataset.valid.digest()],
        "labels": dataset.labels,
        "base_model": settings.base_model,
        "optimiser": settings.optimiser.model_dump()
        | {"max_length": settings.text.max_length},
        "num_workers": settings.compute.num_workers,
    }
    uri = storage.join(settings.output_uri, "training", f"{run_name}.json")
    if storage.exists(uri):
        older = storage.read_json(uri)
        changed = [name for name, value in identity.items() if older.get(name) != value]
        if changed:
            raise SettingsError(
                f"version {run_name!r} began with other {', '.join(changed)};"
                " give another version"
            )
    else:
        storage.put_json(uri, identity)


def _failure(run_name: str, error: ray.train.TrainingFailedError) -> RubertOodError:
    """Make the error of the job from those of its workers.

    One that would come again does not say `go on`.
    """
    failures = getattr(error, "worker_failures", None) or {0: error}
    causes = [getattr(failure, "_base_exc", failure) for failure in failures.values()]
    for cause in causes:  # one worker's own failure breaks the connections of the others
        if isinstance(cause, RubertOodError) and not isinstance(cause, PartialRunError):
            return type(cause)(str(cause))
        if isinstance(cause, torch.OutOfMemoryError):
            return SettingsError(
                "compute.token_budget: the memory of the GPU does not hold a forward pass;"
                " set or lower it (a step stays optimiser.batch_size ads)"
            )
        if isinstance(cause, RECURRING):
            return RubertOodError(
                f"training {run_name} failed, and would fail again: {_line(cause)}"
            )
    return PartialRunError(
        f"training {run_name} stopped, the same version goes on from its newest checkpoint:"
        f" {_line(causes[0])}"
    )


def _line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1]}" if lines else type(cause).__name__


def _best_checkpoint(result: Any, output_uri: str, work_dir: str) -> TrainedModel:
    checkpoints = []
    for kept in result.best_checkpoints or []:
        if "epoch" in kept[1]:  # the others lie within an epoch
            checkpoints.append(kept)
    if not checkpoints:
        raise RubertOodError(f"training at {result.path} reported no checkpoint")
    best, metrics = max(
        checkpoints, key=lambda item: (item[1]["valid_macro_f1"], -item[1]["epoch"])
    )
    # the newest, which need not be among the best that were kept
    with result.checkpoint.as_directory() as folder:
        history = [*read_state(folder).history]
    folder = best.to_directory(os.path.join(work_dir, "best_checkpoint"))
    for name in os.listdir(folder):
        if name.endswith(TRAINING_STATE):
            os.unlink(os.path.join(folder, name))
    uri = f"s3://{best.path}" if storage.is_s3(output_uri) else best.path
    return TrainedModel(uri, folder, metrics["epoch"], history)


class _Trainer(ray.train.torch.TorchTrainer):
    """Leaves Ctrl-C to us.

    Ray Train would answer the second one with nothing, and the third with exit code 0.
    """

    def _register_sigint_handler(self, controller: Any) -> None:
        pass

"""Fine-tune with Ray Train: the driver's side. The loop of the workers is in ddp_loop.py."""

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.train
import ray.train.torch
import torch
from ray.util.queue import Queue

from rubert_ood import storage
from rubert_ood.ads.dataset import Dataset, LabelledAds
from rubert_ood.classifier.checkpoint import TRAINING_STATE, load_tokenizer
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.errors import PartialRunError, RubertOodError, SettingsError
from rubert_ood.progress import StepLog
from rubert_ood.settings import TrainingComputeSettings, TrainSettings
from rubert_ood.training.ddp_loop import read_state, train_worker
from rubert_ood.training.preflight import precision_of_training, warn_of_waiting
from rubert_ood.training.steps import PADDING_LABEL

log = StepLog("train")

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
    without padding), valid_loss, valid_accuracy, valid_macro_f1."""


def fine_tune(
    dataset: Dataset, settings: TrainSettings, *, run_name: str, work_dir: str
) -> TrainedModel:
    """Train on the workers and copy the best checkpoint into work_dir.

    The same run_name resumes a stopped run. The dataset has passed `check_training`. Raises
    PartialRunError only for what another attempt may not meet.
    """
    _claim_run(dataset, settings, run_name)
    warn_of_waiting(settings.compute)
    lines: Queue = Queue(actor_options={"num_cpus": 0})
    printer = threading.Thread(target=_print_lines, args=(lines,), daemon=True)
    printer.start()
    trainer = _trainer(dataset, settings, run_name, lines)
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _failure(run_name, error) from error
    finally:
        lines.put(None)
        printer.join(timeout=10)
    return _best_checkpoint(result, settings.output_uri, work_dir)


def _trainer(
    dataset: Dataset, settings: TrainSettings, run_name: str, lines: Queue
) -> ray.train.torch.TorchTrainer:
    base_model, compute = settings.base_model, settings.compute
    tokenizer = load_tokenizer(base_model)
    fs, path = storage.arrow_filesystem(storage.join(settings.output_uri, "training"))
    return _Trainer(
        train_worker,
        train_loop_config={
            "base_model": storage.absolute(base_model)
            if os.path.isdir(base_model)
            else base_model,
            "labels": dataset.labels,
            "optimiser": settings.optimiser.model_dump(),
            "use_gpu": compute.use_gpu,
            "precision": precision_of_training(compute),
            "token_budget": compute.token_budget,
            "num_threads": int(max(1, compute.cpus_per_worker)),
            "num_train": len(dataset.train) // compute.num_workers,
        },
        datasets={
            "train": _token_dataset(dataset.train, tokenizer, settings, shuffle=True),
            "valid": _token_dataset(dataset.valid, tokenizer, settings, shuffle=False),
        },
        scaling_config=_scaling(compute),
        run_config=ray.train.RunConfig(
            name=run_name,
            storage_path=path,
            storage_filesystem=fs,
            failure_config=ray.train.FailureConfig(max_failures=compute.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute="valid_macro_f1"
            ),
            callbacks=[_LineCallback(lines)],
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
    data = hashlib.sha256()
    for part in (dataset.train, dataset.valid):
        data.update(json.dumps([part.texts, part.labels_N.tolist()]).encode())
    identity = {
        "labelled ads": data.hexdigest(),
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


def _token_dataset(
    ads: LabelledAds, tokenizer: Any, settings: TrainSettings, *, shuffle: bool
) -> ray.data.Dataset:
    """Tokenize once.

    Rows are filled up to a multiple of the workers, so that equal shards lose none.
    """
    ids = tokenize(tokenizer, ads.texts, settings.text.max_length)
    table = pa.table({"ids": ids, "label": ads.labels_N})
    if shuffle:
        table = table.take(
            np.random.default_rng(settings.optimiser.seed).permutation(len(ads))
        )
        table = table.slice(
            0, len(ads) // settings.compute.num_workers * settings.compute.num_workers
        )
    else:
        missing = np.zeros(-len(ads) % settings.compute.num_workers, np.int64)
        filler = pa.table(
            {"ids": ids.take(missing), "label": np.full_like(missing, PADDING_LABEL)}
        )
        table = pa.concat_tables([table, filler])
    return ray.data.from_arrow(table.combine_chunks()).materialize()


def _best_checkpoint(result: Any, output_uri: str, work_dir: str) -> TrainedModel:
    checkpoints = result.best_checkpoints or []
    if not checkpoints:
        raise RubertOodError(f"training at {result.path} reported no checkpoint")
    best, metrics = max(
        checkpoints, key=lambda item: (item[1]["valid_macro_f1"], -item[1]["epoch"])
    )
    # the newest, which need not be among the best that were kept
    with result.checkpoint.as_directory() as folder:
        history = read_state(folder)["history"]
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


class _LineCallback(ray.train.UserCallback):
    """Send each report's line from the Train controller to the driver, where the user reads it."""

    def __init__(self, lines: Queue) -> None:
        self.lines = lines

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        self.lines.put(metrics[0]["line"])


def _print_lines(lines: Queue) -> None:
    while (line := lines.get()) is not None:
        log.info(line)

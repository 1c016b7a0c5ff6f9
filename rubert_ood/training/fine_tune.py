"""Fine-tune with Ray Train: the driver's side. The loop of the workers is in ddp_loop.py."""

from dataclasses import replace
from functools import partial

import ray.train

from rubert_ood import storage
from rubert_ood.ads.dataset import Dataset
from rubert_ood.settings import TrainSettings
from rubert_ood.training.ddp_loop import train_worker
from rubert_ood.training.ray_trainer import TrainedModel, TrainingRun
from rubert_ood.training.stopping import KEPT_BY, is_over
from rubert_ood.training.token_dataset import everywhere, token_dataset


def fine_tune(
    dataset: Dataset, settings: TrainSettings, *, run_name: str, work_dir: str
) -> TrainedModel:
    """Train on the workers and copy the checkpoint with the best macro-F1 into work_dir.

    The same run_name resumes a stopped run, and reads one that has ended. The dataset has passed
    `check_training`. Raises PartialRunError only for what another attempt may not meet.
    """
    folder_uri = storage.join(settings.output_uri, "training")
    run = TrainingRun(folder_uri, run_name, KEPT_BY)
    run.begin(_identity(dataset, settings))
    result = run.finished(partial(is_over, settings=settings.optimiser))
    if result is None:
        result = _train(run, dataset, settings)
    return replace(run.take_best(result, work_dir), seed=settings.optimiser.seed)


def _train(
    run: TrainingRun, dataset: Dataset, settings: TrainSettings
) -> ray.train.Result:
    base_model = everywhere(settings.base_model)
    config = {
        "base_model": base_model,
        "labels": dataset.labels,
        "optimiser": settings.optimiser.model_dump(),
    }
    max_length = settings.text.max_length
    datasets = {
        "train": token_dataset(dataset.train, base_model, max_length),
        "valid": token_dataset(dataset.valid, base_model, max_length),
    }
    return run.fit(train_worker, config, datasets, settings.compute)


def _identity(dataset: Dataset, settings: TrainSettings) -> dict[str, object]:
    """Say what a run of this name trains on."""
    return {
        "labelled ads": [dataset.train.digest(), dataset.valid.digest()],
        "labels": dataset.labels,
        "base_model": settings.base_model,
        "optimiser": settings.optimiser.model_dump()
        | {"max_length": settings.text.max_length},
        "num_workers": settings.compute.num_workers,
    }

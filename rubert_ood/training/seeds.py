"""Trainings that differ in their seed, one after the other, and which of them is the best."""

import os
from collections.abc import Iterator, Sequence

from rubert_ood.ads.dataset import Dataset
from rubert_ood.progress import StepLog
from rubert_ood.settings import TrainSettings
from rubert_ood.training.fine_tune import fine_tune
from rubert_ood.training.ray_trainer import TrainedModel
from rubert_ood.training.stopping import SCORE

log = StepLog("train")


def train_seeds(
    dataset: Dataset, settings: TrainSettings, *, run_name: str, work_dir: str
) -> list[TrainedModel]:
    """Train once with each seed; the dataset has passed `check_training`.

    The same run_name resumes: finished trainings are read from their checkpoints. Raises as
    `fine_tune` does.
    """
    trained = []
    for name, one in seeded(settings, run_name):
        seed = one.optimiser.seed
        folder = os.path.join(work_dir, str(seed))
        model = fine_tune(dataset, one, run_name=name, work_dir=folder)
        trained.append(model)
        if settings.seeds > 1:
            log.info(
                f"seed {seed} ({len(trained)} of {settings.seeds})  macro-F1"
                f" {model.best[SCORE]:.4f} at epoch {model.epoch}"
            )
    return trained


def seeded(settings: TrainSettings, run_name: str) -> Iterator[tuple[str, TrainSettings]]:
    """Yield the name and the settings of each training; the first has those that were given."""
    optimiser = settings.optimiser
    yield run_name, settings
    for seed in range(optimiser.seed + 1, optimiser.seed + settings.seeds):
        other = optimiser.model_copy(update={"seed": seed})
        yield f"{run_name}-seed{seed}", settings.model_copy(update={"optimiser": other})


def best_model(trained: Sequence[TrainedModel]) -> TrainedModel:
    """Return the first with the best macro-F1 on valid."""
    return max(trained, key=lambda model: model.best[SCORE])
